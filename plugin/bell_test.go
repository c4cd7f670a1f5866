package main

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestBell: the callback of an idle input is told that there is nothing to do, and
// one that has something to do is told so until it is done.
func TestBell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		b := bellOf(k)
		s.start(s.asks(1, k))
		defer s.exit(1, k)
		rings := func(want bool, when string) {
			t.Helper()
			if b.rings() != want {
				t.Errorf("%s: the bell rings: %v", when, !want)
			}
		}
		rings(true, "started")
		s.collected(k)
		rings(false, "nothing to do")

		s.feed(k, 100)
		rings(true, "a batch waits")
		s.Collect(k)
		rings(true, "a batch is handed over")
		s.Release(k)
		s.collected(k)
		rings(false, "it was released")

		s.feed(k, 5<<18) // two are more than batch_size
		s.feed(k, 5<<18)
		s.collected(k)
		rings(true, "more waits than one batch")
		s.collected(k)
		s.collected(k)
		rings(false, "all is handed over")

		s.find(k).log.Warn("something")
		rings(true, "a line waits")
		s.collected(k)
		rings(false, "it is printed")

		s.Pause(1)
		s.feed(k, 100)
		s.collected(k)
		rings(true, "paused")
		s.Resume(1)
		s.collected(k)
		s.collected(k)
		rings(false, "resumed")

		s.find(k).storage.lacked = time.Now()
		s.feed(k, 100)
		s.collected(k)
		s.collected(k)
		rings(true, "there was no room")
		time.Sleep(steady)
		s.collected(k)
		s.collected(k)
		rings(false, "there is room")
	})
}

// TestBellUntilCounted: a batch that the host has not counted yet keeps the
// callback asking.
func TestBellUntilCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		c := s.asks(1, k)
		total := uint64(0)
		c.count = func() counts { return counts{records: count{total, true}} }
		s.start(c)
		defer s.exit(1, k)
		s.collected(k) // the count to begin with
		s.feedEvents(k, 100, 1)
		s.collected(k)
		for range 3 {
			s.collected(k)
			if !bellOf(k).rings() {
				t.Fatal("it waits for the count, but does not ask")
			}
		}
		total = 1
		s.collected(k)
		if bellOf(k).rings() {
			t.Error("it asks on for what was counted")
		}
	})
}

// TestBellAfterFault: a callback that panics is not the last one while something
// waits.
func TestBellAfterFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		c := s.asks(1, k)
		c.count = func() counts { return counts{} }
		s.start(c)
		in := s.find(k).instance
		good := in.counted
		in.counted = func() counts { panic("a fault") }
		s.feed(k, 100)
		func() {
			defer func() { _ = recover() }()
			s.Collect(k)
			t.Error("there was no fault")
		}()
		if !bellOf(k).rings() {
			t.Error("a batch waits, but no callback will come")
		}
		in.counted = good
		if got := s.collected(k); got != 100 {
			t.Errorf("the next one brought %d bytes, want 100", got)
		}
		s.exit(1, k)
	})
}
