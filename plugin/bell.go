package main

import "sync/atomic"

// bell tells a host's callback whether there is something to do. It is a word in
// C memory, behind the instance's handle, so that a callback of an idle input
// returns without entering Go: its runtime looks after a thread that came from C
// for another 10 ms, which once a second is a thousandth of a core.
//
// Who adds something rings afterwards; who collects silences it first, and rings
// it again for what is left. Ringing a nil bell does nothing.
type bell atomic.Int32

// bellOf is the bell behind a handle; without a handle, one of its own.
func bellOf(k handle) *bell {
	if k == nil {
		return new(bell)
	}
	return (*bell)(k)
}

func (b *bell) ring() {
	if b != nil {
		(*atomic.Int32)(b).Store(1)
	}
}

func (b *bell) silence() { (*atomic.Int32)(b).Store(0) }

func (b *bell) rings() bool { return (*atomic.Int32)(b).Load() != 0 }
