package duo_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// localClock is a machine's clock that may be wrong.
type localClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *localClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *localClock) set(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// A clock that was ahead and is set right must not leave the reader waiting
// until the time that it had shown.
func TestClockSetRight(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, 24 * time.Hour, 400 * 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{MaxSkew: -1})
				clock := &localClock{ahead: ahead}
				a.now = clock.now
				a.read("activity", defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
				time.Sleep(10 * time.Minute)
				clock.set(0)
				before := len(a.server.Calls())
				time.Sleep(10 * time.Minute)
				if n := len(a.server.Calls()) - before; n < 8 {
					t.Errorf("%d calls in the 10 minutes after the clock was set right", n)
				}
			})
		})
	}
}

// A clock that is so far behind that there seems to be nothing to ask for is
// named all the same: Duo refuses its calls.
func TestClockFarBehindIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{Now: func() time.Time { return time.Now().Add(24 * time.Hour) }})
		r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(23*time.Hour), time.Now()))
		time.Sleep(20 * time.Minute)
		if lines := r.logs.all(); len(lines) != 1 || !strings.Contains(lines[0], "behind Duo's") {
			t.Errorf("want one line that names the clock, got %q", lines)
		}
	})
}

// A window that was opened by a clock that is ahead, and that limited calls
// keep open for hours, loses nothing of what Duo files late.
func TestLateEventsWhileClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{MaxSkew: -1, Budget: 1})
		start := time.Now()
		clock := &localClock{ahead: 6 * time.Hour}
		a.now = clock.now
		backlog(a.server, "activity", 3000)
		r := a.read("activity", defaults, duo.NewCursor(start.Add(-25*time.Hour), start))
		g := duotest.NewGenerator("activity", 3, small)
		for i := range 2000 {
			now := time.Now()
			if i%10 == 0 {
				a.server.AddAt("activity", now.Add(6*time.Minute), g.At(now))
			} else {
				a.server.Add("activity", g.At(now))
			}
			time.Sleep(time.Duration(1+i%9) * time.Second)
		}
		clock.set(0)
		time.Sleep(2 * time.Hour)
		sameOnce(t, a.server.IDs("activity"), r.got())
	})
}

// That a checkpoint is too old is said once, not at each attempt of an outage.
func TestOldCheckpointIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		cursor := duo.NewCursor(time.Now(), time.Now())
		time.Sleep(200 * 24 * time.Hour)
		backlog(a.server, "activity", 10)
		a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, N: -1})
		r := a.read("activity", defaults, cursor)
		time.Sleep(time.Hour)
		a.server.ClearFaults()
		time.Sleep(time.Hour)
		sameOnce(t, a.server.IDs("activity"), r.got())
		if n := saying(r, "are gone"); n != 1 {
			t.Errorf("said %d times: %q", n, r.logs.all())
		}
	})
}

// A clock that is wrong by a year is no reason to say that events are gone.
func TestWrongClockRaisesNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{MaxSkew: -1})
		clock := &localClock{ahead: 365 * 24 * time.Hour}
		a.now = clock.now
		backlog(a.server, "activity", 10)
		r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
		time.Sleep(10 * time.Minute)
		clock.set(0)
		time.Sleep(10 * time.Minute)
		sameOnce(t, a.server.IDs("activity"), r.got())
		if n := saying(r, "are gone"); n != 0 {
			t.Errorf("said %d times", n)
		}
	})
}

func saying(r *reading, words string) int {
	lines := r.logs.all()
	return len(lines) - len(slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, words) }))
}

// Answers that are too large for a while, from a gateway that is broken, do
// not leave the reader with the smallest pages for ever.
func TestPageSizeRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{Budget: 2})
		a.server.Fault(duotest.Fault{Kind: duotest.FaultHuge, Size: 17 << 20, N: 10})
		backlog(a.server, "activity", 3000)
		r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
		time.Sleep(3 * time.Hour)
		sameOnce(t, a.server.IDs("activity"), r.got())
	})
}
