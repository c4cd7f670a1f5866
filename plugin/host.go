package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unsafe"

	"duo_in/plugin/option"
)

// handle tells instances apart for the host: the address of the instance's bell,
// in C memory. Nil is that of a host before 4.1, which keeps none.
type handle unsafe.Pointer

// thread is one of the host's threads. Each input has its own.
type thread uintptr

// caller is what a host offers to one Init.
type caller struct {
	pid    int
	thread thread
	handle handle        // nil: the host can keep none, and so has one instance
	get    option.Getter // options
	level  slog.Level    // of the log
	print  printer       // the host's logger; nil: it has none
	count  counter       // nil: the host does not count
	memory *memory       // for what is handed over
	input  string        // what the host calls the input; "": it does not say
	metric registrar     // nil: the host has no metrics
}

// counter returns what the host has counted of an input. Only the input's thread
// may call it.
type counter func() counts

// host is the process that loaded the plugin, seen from here. All its state is
// about instances that run: a hot reload stops the old ones and starts new ones
// in the same library.
type host struct {
	// starting is held by one Init at a time, which may wait for a lock of
	// another process; the calls of running instances never wait for it.
	starting sync.Mutex

	mu       sync.Mutex // guards what follows
	pid      int        // of FLBPluginRegister
	byHandle map[handle]*running
	byThread map[thread]*running
}

// running is an instance with what its host calls need.
type running struct {
	*instance
	handle handle
	thread thread
	print  printer
}

func newHost() *host {
	return &host{byHandle: map[handle]*running{}, byThread: map[thread]*running{}}
}

// Register notes the process that loads the plugin.
func (h *host) Register(pid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pid = pid
}

// Init starts an instance. A failed one leaves nothing behind, since the host
// calls no Exit for it. Log lines come out before Init returns.
func (h *host) Init(c caller) bool {
	h.starting.Lock()
	defer h.starting.Unlock()
	name := h.freeName()
	l := newLines(name, c.level)
	l.bell = bellOf(c.handle)
	l.bell.ring() // for the first callback, with which the metrics begin
	err := h.start(c, name, l)
	if err != nil {
		log := slog.New(l)
		for _, problem := range split(err) {
			log.Error(problem.Error())
		}
	}
	h.flush(c.print, l)
	if err != nil {
		l.close()
		l.flush()
	}
	return err == nil
}

func (h *host) start(c caller, name string, l *lines) error {
	if err := h.admit(c); err != nil {
		return err
	}
	now := time.Now()
	slog.New(l).Info("duo_in " + version)
	in, err := newInstance(name, c.get, l, now)
	if err != nil {
		return err
	}
	in.counted, in.tray.memory = c.count, c.memory
	if err := in.Start(now); err != nil {
		return err
	}
	if c.metric != nil {
		in.export(c.metric, cmp.Or(c.input, name), now)
	}
	r := &running{instance: in, handle: c.handle, thread: c.thread, print: c.print}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byHandle[c.handle], h.byThread[c.thread] = r, r
	return nil
}

// freeName is what Fluent Bit calls the instance that starts, as far as one can
// tell: inputs are numbered in their order, anew at each reload.
func (h *host) freeName() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := map[string]bool{}
	for _, r := range h.byThread {
		taken[r.name] = true
	}
	for n := 0; ; n++ {
		if name := fmt.Sprintf("duo.%d", n); !taken[name] {
			return name
		}
	}
}

// admit refuses hosts and modes in which promises could not be kept.
func (h *host) admit(c caller) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.pid != c.pid:
		return errors.New("daemon mode: Go plugins cannot run in a Fluent Bit that puts itself into the background; take daemon (-d) out and let a service manager do it")
	case c.handle == nil && len(h.byHandle) > 0:
		return errors.New("this Fluent Bit is older than 4.1 and can have one duo input only: put the logs into one [INPUT], or use a newer Fluent Bit")
	case h.byThread[c.thread] != nil:
		return errors.New("several duo inputs need a thread each: take threaded off out of them")
	}
	return nil
}

// Collect returns what an instance has for the host.
func (h *host) Collect(k handle) [][]byte {
	r := h.find(k)
	if r == nil {
		return nil
	}
	r.lines.bell.silence()
	defer func() { // after a fault too, which would be the last callback else
		if r.Busy() {
			r.lines.bell.ring()
		}
	}()
	parts := r.Collect(time.Now())
	h.flush(r.print, r.lines)
	return parts
}

// Lend returns n bytes of C memory for what Collect returned, nil if there are none
// for that. They are to come back by TakeBack.
func (h *host) Lend(k handle, n int) unsafe.Pointer {
	if r := h.find(k); r != nil {
		return r.tray.lend(n)
	}
	return nil
}

// TakeBack takes what Lend returned, and reports whether it was that.
func (h *host) TakeBack(k handle, data unsafe.Pointer) bool {
	r := h.find(k)
	return r != nil && r.tray.takeBack(data)
}

// Release notes that the host is done with what Collect returned.
func (h *host) Release(k handle) {
	if r := h.find(k); r != nil {
		r.Release(time.Now())
	}
}

// Pause, Resume and Exit come without a handle, but on the instance's thread.

// Pause stops an instance's hand-overs.
func (h *host) Pause(t thread) {
	if r := h.on(t); r != nil {
		r.Pause(time.Now())
	}
}

// Resume takes back Pause.
func (h *host) Resume(t thread) {
	if r := h.on(t); r != nil {
		r.Resume(time.Now())
	}
}

// Exit stops an instance and forgets it: the host may reuse its thread's id.
func (h *host) Exit(t thread) {
	r := h.on(t)
	if r == nil {
		return
	}
	h.mu.Lock()
	delete(h.byThread, r.thread)
	delete(h.byHandle, r.handle)
	h.mu.Unlock()
	r.Stop(time.Now())
}

func (h *host) find(k handle) *running {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byHandle[k]
}

// on returns the thread's instance. A host with a single input may call from
// any of its threads.
func (h *host) on(t thread) *running {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.byThread[t]; r != nil {
		return r
	}
	if len(h.byThread) == 1 {
		for _, r := range h.byThread {
			return r
		}
	}
	return nil
}

// flush prints the lines that wait, where the host has a logger; where it has
// none they go to stderr in time.
func (h *host) flush(p printer, l *lines) {
	if p != nil {
		l.print(p)
	}
}

// split takes joined errors apart, so that each gets a line of its own.
func split(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, split(e)...)
	}
	return out
}
