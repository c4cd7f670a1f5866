//go:build unix

package flbtest

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// A machine that stands still in the midst of an exit is told from a slow plugin.
func TestExits(t *testing.T) {
	const still = time.Second
	for _, stands := range []bool{false, true} {
		slow := 500 * time.Millisecond
		if stands {
			slow *= 10 // so that it is not over before
		}
		t.Run(fmt.Sprint(stands), func(t *testing.T) {
			s := newScenario(t, CHost, numbered("a", Option{"leave", fmt.Sprint(slow.Milliseconds() / 10)}))
			p := s.startReady()
			s.check(p.Signal(syscall.SIGTERM))
			s.until("the exit has begun", func() bool { return s.count("Exit", "") == 1 })
			if stands {
				s.check(p.Signal(syscall.SIGSTOP))
				<-time.After(still)
				s.check(p.Signal(syscall.SIGCONT))
			}
			s.stop(p)
			all := p.Exits()
			if len(all) != 1 || all[0].Took < slow || stands && all[0].Stood < still*3/4 {
				t.Fatalf("got %+v", all)
			}
			// The naps are 10 ms or more each, and the watch wakes in time for most of them.
			if own := all[0].Own(); !stands && own < slow/2 || stands && own > all[0].Took-still*3/4 {
				t.Errorf("its own is %v of %+v", own, all[0])
			}
		})
	}
}
