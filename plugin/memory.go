package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
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

// largeBacklog is how many bytes of events pass through until what that took is
// given back to the system: a hundred times what giving back costs.
const largeBacklog = 32 << 20

// giveBack returns memory to the system at once, the pool's too, which outlasts one
// collection. Else it stays until other work comes along.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}
