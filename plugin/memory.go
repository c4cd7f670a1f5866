package main

import (
	"os"
	"runtime"
	"runtime/debug"
	usage "runtime/metrics"
	"sync"
	"unsafe"
)

// gcPercent is how much garbage may pile up, in percent of what lives, before it is
// collected. What lives are batches and pages, in which the collector has nothing to
// look for: so it costs no more than with Go's own 100, and the process stays a
// quarter smaller.
const gcPercent = 25

// saveMemory sets gcPercent, unless the operator has set the environment's GOGC.
// The host has no other Go in it: two in a process are not supported.
func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// parts are buffers for encoded events that are used again: they are most of what
// a backlog passes through, and each that is made anew is cleared, paged in and
// collected.
type parts struct {
	size int // bytes that one is filled with, at most, but for the event that it begins with
	pool sync.Pool
}

// get returns an empty buffer.
func (p *parts) get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, p.room())
}

// put takes a buffer back, unless it is not one of get, or has grown.
func (p *parts) put(b []byte) {
	if cap(b) == p.room() {
		p.pool.Put(&b)
	}
}

// room is a buffer's capacity: what is encoded can be larger than what Duo sent.
func (p *parts) room() int { return p.size + p.size/8 }

// worthIt is how many bytes it takes for memory to be given back: some milliseconds
// for what took ten times as long to fill.
const worthIt = 2 << 20

// heap is this library's, whatever instances there are.
var heap idleHeap

// idleHeap is the memory that was needed and is needed no more, which stays until
// other work comes along: for hours, in a process that sleeps between two polls.
type idleHeap struct {
	mu         sync.Mutex // guards what follows
	used, free uint64     // of held, when memory was last given back
}

// giveBack returns memory to the system at once, if it is worth it. The pool's too,
// which outlasts one collection.
func (h *idleHeap) giveBack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if used, free := held(); used+free < h.used+h.free+worthIt && free < h.free+worthIt {
		return
	}
	runtime.GC()
	debug.FreeOSMemory()
	h.used, h.free = held() // the runtime keeps some of what is free
}

// held is how many bytes of the system's the heap uses, for garbage too, and how many
// are free and not given back.
func held() (used, free uint64) {
	s := []usage.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	usage.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64(), s[2].Value.Uint64()
}

// trayKeep is how many bytes of a tray are worth less than to make them ready again.
const trayKeep = 256 << 10

// memory is C's, in which batches are handed over. Nil where there is none, as in
// tests.
type memory struct {
	alloc func(bytes int) unsafe.Pointer // nil if there is none left
	free  func(data unsafe.Pointer, bytes int)
}

// tray is where a batch lies while the host copies it, one after the other in the
// same place. The first touch of a page of memory can take longer than to copy what
// it holds, and the callback is not to wait for that: so it is done beforehand, when
// the batch comes together.
type tray struct {
	size int // bytes
	*memory

	mu    sync.Mutex
	data  unsafe.Pointer // nil if there is none
	ready int            // bytes of it that were touched
	lent  bool
}

// prepare makes the first n bytes ready.
func (t *tray) prepare(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n = min(n, t.size)
	if n <= t.ready || !t.have() {
		return
	}
	clear(unsafe.Slice((*byte)(t.data), n)[t.ready:])
	t.ready = n
}

// have reports whether there is a tray, and gets one if not; mu is held.
func (t *tray) have() bool {
	if t.data == nil && t.memory != nil {
		t.data = t.alloc(t.size)
	}
	return t.data != nil
}

// lend returns n bytes for the host, nil if there is no such tray.
func (t *tray) lend(n int) unsafe.Pointer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n > t.size || t.lent || !t.have() {
		return nil
	}
	t.lent, t.ready = true, max(t.ready, n)
	return t.data
}

// takeBack takes what the host is done with, and reports whether it was lent.
func (t *tray) takeBack(data unsafe.Pointer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.lent || data != t.data {
		return false
	}
	t.lent = false
	return true
}

// drop gives back a tray of which more than keep bytes are ready, unless the host
// has it.
func (t *tray) drop(keep int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ready > keep {
		t.release()
	}
}

// end drops the tray for good. If the host has it, that is what is to free it.
func (t *tray) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release()
	t.memory, t.data = nil, nil
}

// release gives back the tray, unless the host has it; mu is held.
func (t *tray) release() {
	if t.lent || t.data == nil {
		return
	}
	t.free(t.data, t.size)
	t.data, t.ready = nil, 0
}
