//go:build cgo

package main

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"
)

// TestFreedMemory: what is freed is the system's again, whatever thread had it and
// however often: glibc's free keeps it, but for the first time.
func TestFreedMemory(t *testing.T) {
	const size, threads = 8 << 20, 6
	var all, there sync.WaitGroup
	var turn sync.Mutex // so that no two have it at once
	before := resident(t)
	there.Add(threads)
	for range threads {
		all.Go(func() {
			runtime.LockOSThread() // and never unlocked, so that no two are the same thread
			cMemory.free(cMemory.alloc(1), 1)
			there.Done()
			there.Wait()
			turn.Lock()
			defer turn.Unlock()
			data := cMemory.alloc(size)
			clear(unsafe.Slice((*byte)(data), size))
			cMemory.free(data, size)
		})
	}
	all.Wait()
	if grown := resident(t) - before; grown > size {
		t.Errorf("%d threads that had %d bytes one after the other leave %d more resident", threads, size, grown)
	}
}
