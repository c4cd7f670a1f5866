package main

import (
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

// TestGiveBack: memory is given back when the host has all of a large backlog, and
// not before.
func TestGiveBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		s.start(s.asks(1, k))
		defer s.exit(1, k)
		in := s.find(k).instance
		waits := func() int {
			synctest.Wait()
			in.mu.Lock()
			defer in.mu.Unlock()
			return in.passed
		}
		for range largeBacklog >> 20 {
			s.feed(k, 1<<20)
			s.collected(k)
		}
		if got := waits(); got != largeBacklog {
			t.Errorf("within a window %d bytes wait to be given back, want %d", got, largeBacklog)
		}
		end := batch{stream: in.key("", in.options.Logs[0]), cursor: &duo.Cursor{From: 1}}
		fill(t, in.queue, end)
		s.collected(k)
		if got := waits(); got != 0 {
			t.Errorf("at its end %d bytes wait to be given back", got)
		}
		s.feed(k, 1<<20)
		fill(t, in.queue, end)
		s.collected(k)
		if got := waits(); got != 1<<20 {
			t.Errorf("after a small one %d bytes wait, want %d", got, 1<<20)
		}
	})
}
