package main

/*
#cgo CFLAGS: -D_GNU_SOURCE
#cgo !windows LDFLAGS: -ldl
#include "host.h"
*/
import "C"

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"
	"unsafe"

	"github.com/fluent/fluent-bit-go/input"
)

// process is the host of this library.
var process = newHost()

// names stay allocated: hosts keep the pointers for as long as they live.
var names = [2]*C.char{C.CString("duo"), C.CString("Duo Security logs")}

// counted is what the names of the metrics begin with that countsIn reads.
var counted = C.CString(countPrefix)

// FLBPluginRegister is called once per load, on the host's main thread.
//
//export FLBPluginRegister
func FLBPluginRegister(def unsafe.Pointer) (ret C.int) {
	defer guard(&ret)
	saveMemory()
	process.Register(os.Getpid())
	C.duo_define(def, input.FLB_PROXY_INPUT_PLUGIN, input.FLB_PROXY_GOLANG, names[0], names[1])
	return 0
}

// FLBPluginInit is called for each [INPUT], on that input's thread. p is the
// same for all of them and is not used after this call.
//
//export FLBPluginInit
func FLBPluginInit(p unsafe.Pointer) (ret C.int) {
	defer guard(&ret)
	c := callerOf(p)
	if process.Init(c) {
		return input.FLB_OK
	}
	return input.FLB_ERROR
}

// FLBPluginInputPreRun is called when Init is done. Hosts take a missing one for
// a failed one.
//
//export FLBPluginInputPreRun
func FLBPluginInputPreRun(C.int) C.int { return 0 }

// duoCollect is what FLBPluginInputCallbackCtx, in host.c, calls when the bell rings.
//
//export duoCollect
func duoCollect(ctx unsafe.Pointer, data *unsafe.Pointer, size *C.size_t) (ret C.int) {
	defer guard(&ret)
	*data, *size = toC(handle(ctx), process.Collect(handle(ctx)))
	return input.FLB_OK
}

// FLBPluginInputCallback is called once a second by hosts before 4.1.
//
//export FLBPluginInputCallback
func FLBPluginInputCallback(data *unsafe.Pointer, size *C.size_t) C.int {
	return duoCollect(nil, data, size)
}

// FLBPluginInputCleanupCallbackCtx is called when the host has copied the
// buffer, by hosts from 4.1 on.
//
//export FLBPluginInputCleanupCallbackCtx
func FLBPluginInputCleanupCallbackCtx(ctx, data unsafe.Pointer) (ret C.int) {
	defer guard(&ret)
	if !process.TakeBack(handle(ctx), data) {
		C.free(data)
	}
	process.Release(handle(ctx))
	return input.FLB_OK
}

// FLBPluginInputCleanupCallback is the same for hosts before 4.1.
//
//export FLBPluginInputCleanupCallback
func FLBPluginInputCleanupCallback(data unsafe.Pointer) C.int {
	return FLBPluginInputCleanupCallbackCtx(nil, data)
}

// FLBPluginInputPause is called on the thread of the input that is paused.
//
//export FLBPluginInputPause
func FLBPluginInputPause() {
	defer guard(nil)
	process.Pause(thread(C.duo_thread()))
}

// FLBPluginInputResume is called on the thread of the input that goes on.
//
//export FLBPluginInputResume
func FLBPluginInputResume() {
	defer guard(nil)
	process.Resume(thread(C.duo_thread()))
}

// FLBPluginExit is called on the thread of the input that ends.
//
//export FLBPluginExit
func FLBPluginExit() (ret C.int) {
	defer guard(&ret)
	process.Exit(thread(C.duo_thread()))
	return input.FLB_OK
}

// FLBPluginUnregister is called on the main thread. In a hot reload the new
// instances are registered by then, so nothing may be reset.
//
//export FLBPluginUnregister
func FLBPluginUnregister(unsafe.Pointer) {}

// callerOf copies out of p what outlives Init.
func callerOf(p unsafe.Pointer) caller {
	api, ins := C.duo_api_of(p), C.duo_ins_of(p)
	c := caller{
		pid:    os.Getpid(),
		thread: thread(C.duo_thread()),
		handle: handle(C.duo_new_handle(p)),
		get:    func(name string) string { return input.FLBPluginConfigKey(p, name) },
		level:  slog.LevelInfo,
		memory: &cMemory,
	}
	c.count = func() (c counts) {
		text := C.duo_metrics(api, ins, counted)
		if text == nil {
			return c
		}
		defer C.duo_metrics_free(text)
		return countsIn(C.GoString(text))
	}
	c.input = C.GoString(C.duo_name(ins))
	if cmt := C.duo_cmt_of(api, ins); cmt.cmt != nil {
		c.metric = func(m *metric) setter { return newMetric(cmt, m) }
	}
	if C.duo_has_log(api) != 0 {
		for c.level = slog.LevelError; c.level > slog.LevelDebug && C.duo_log_check(api, ins, cLevel(c.level-4)) != 0; {
			c.level -= 4
		}
		c.print = func(l line) {
			text := C.CString(l.text)
			defer C.free(unsafe.Pointer(text))
			C.duo_log(api, cLevel(l.level), text)
		}
	}
	return c
}

// newMetric registers a metric with the host.
func newMetric(cmt C.struct_duo_cmt, m *metric) setter {
	var text [4]*C.char
	for i, s := range []string{metricPrefix[0], metricPrefix[1], m.name, m.help} {
		text[i] = C.CString(s)
		defer C.free(unsafe.Pointer(text[i]))
	}
	kind := C.int(0)
	if m.gauge {
		kind = 1
	}
	n, keys := joined(m.labels())
	made := C.duo_metric_new(cmt, kind, text[0], text[1], text[2], text[3], n, keys)
	if made == nil {
		return nil
	}
	return func(labels []string, value float64, at time.Time) {
		n, values := joined(labels)
		C.duo_metric_set(cmt, kind, made, C.uint64_t(at.UnixNano()), C.double(value), n, values)
	}
}

// joined is a list of strings for a C function that keeps none of them.
func joined(list []string) (C.int, *C.char) {
	b := []byte(strings.Join(list, "\x00") + "\x00")
	return C.int(len(list)), (*C.char)(unsafe.Pointer(&b[0]))
}

// cLevel is Fluent Bit's number of a level: 1 error, 2 warn, 3 info, 4 debug.
func cLevel(l slog.Level) C.int { return C.int(3 - int(l)/4) }

var cMemory = memory{
	alloc: func(bytes int) unsafe.Pointer { return C.duo_alloc(C.size_t(bytes)) },
	free:  func(data unsafe.Pointer, bytes int) { C.duo_free(data, C.size_t(bytes)) },
}

// toC copies parts into one buffer of C memory, which the cleanup takes.
func toC(k handle, parts [][]byte) (unsafe.Pointer, C.size_t) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size == 0 {
		return nil, 0
	}
	data := process.Lend(k, size)
	if data == nil {
		data = cMemory.alloc(size)
	}
	if data == nil {
		return nil, 0 // the host takes nothing: so less is handed over at the next call
	}
	buf := unsafe.Slice((*byte)(data), size)
	for _, p := range parts {
		buf = buf[copy(buf, p):]
	}
	return data, C.size_t(size)
}

// guard keeps a panic from aborting the host: the call fails instead, which the
// host takes as nothing to append, or as a failed start.
func guard(ret *C.int) {
	if r := recover(); r != nil {
		stderr.write(fmt.Sprintf("[error] [input:duo] a fault in duo_in: %v (please report this: %s)\n", r, debug.Stack()))
		if ret != nil {
			*ret = -1
		}
	}
}
