package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"

	"duo_in/duo"
)

// TestSaveMemory: the operator's GOGC counts, else ours.
func TestSaveMemory(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for _, tt := range []struct {
		env  string
		want int
	}{{"50", 77}, {"off", 77}, {"", gcPercent}} { // the runtime itself has read the first two
		t.Setenv("GOGC", tt.env)
		saveMemory()
		if got := debug.SetGCPercent(77); got != tt.want {
			t.Errorf("GOGC=%q: %d %%, want %d", tt.env, got, tt.want)
		}
	}
}

// TestRests: an instance rests when the host has all that Duo had.
func TestRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		s.start(s.asks(1, k))
		defer s.exit(1, k)
		in := s.find(k).instance
		if s.collected(k); !in.rests() {
			t.Error("nothing came yet: it does not rest")
		}
		s.feed(k, 100)
		if in.rests() {
			t.Error("a batch waits: it rests")
		}
		if s.collected(k); in.rests() {
			t.Error("within a window: it rests")
		}
		fill(t, in.queue, batch{stream: in.key("", in.options.Logs[0]), cursor: &duo.Cursor{From: 1, Until: 2}})
		if s.collected(k); in.rests() {
			t.Error("at the end of a page: it rests")
		}
		in.stream(in.key("", in.options.Logs[0])).meter.note(func(r *reading) { r.pulled = false }) // as when its account is gone
		if !in.rests() {
			t.Error("nothing is pulled any more: it does not rest")
		}
		in.stream(in.key("", in.options.Logs[0])).meter.note(func(r *reading) { r.pulled = true })
		fill(t, in.queue, batch{stream: in.key("", in.options.Logs[0]), cursor: &duo.Cursor{From: 1}})
		if s.collected(k); !in.rests() {
			t.Error("at the end of a window: it does not rest")
		}
	})
}

// TestGiveBack: memory is given back when there is enough of it, and then not again.
func TestGiveBack(t *testing.T) {
	var h idleHeap
	forced := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumForcedGC
	}
	h.giveBack() // what other tests left
	before := held()
	waste := make([]byte, 8*worthIt)
	if grown := held(); grown < before+4*worthIt {
		t.Fatalf("%d MiB more make the heap grow from %d to %d bytes", len(waste)>>20, before, grown)
	}
	runtime.KeepAlive(waste)
	h.kept = before
	if h.giveBack(); held() > before+worthIt {
		t.Errorf("%d bytes are held, %d before", held(), before)
	}
	n := forced()
	if h.giveBack(); forced() != n {
		t.Error("memory was given back again, of which there is none")
	}
}
