package duo_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// Events that Duo files late: within the overlap each arrives once and nothing
// is said. Later than that, one arrives where nothing newer had come, and that is
// said, by how much; else it is missed, which is what overlap bounds.
func TestEventsFiledLate(t *testing.T) {
	for _, log := range []string{duotest.Authentication, duotest.TrustMonitor, duotest.Administrator} {
		for _, tt := range []struct {
			name    string
			late    time.Duration // from the event to when Duo shows it
			busy    bool          // an event happens every ten seconds meanwhile
			arrives bool
			said    string
		}{
			{"within the overlap", 6 * time.Minute, true, true, ""},
			{"within the overlap, quiet", 6 * time.Minute, false, true, ""},
			{"later, quiet", 3 * time.Hour, false, true, "1 events came up to 2h5"},
			{"later, busy", 3 * time.Hour, true, false, ""},
		} {
			t.Run(log+", "+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAccount(t, duotest.Config{})
					g := duotest.NewGenerator(log, 5, duotest.Options{})
					a.server.Add(log, g.At(time.Now()))
					r := a.read(log, defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
					time.Sleep(10 * time.Minute)
					late := g.At(time.Now())
					a.server.AddAt(log, time.Now().Add(tt.late), late)
					if tt.busy {
						trickle(a.server, log, 10*time.Second, tt.late, time.Now)
					}
					time.Sleep(tt.late + time.Hour)
					synctest.Wait()
					got := 0
					for _, raw := range r.raws {
						if raw == string(late) {
							got++
						}
					}
					if want := map[bool]int{true: 1}[tt.arrives]; got != want {
						t.Errorf("the late event arrived %d times, want %d", got, want)
					}
					lines := strings.Join(r.logs.all(), "\n")
					if tt.said == "" && lines != "" || !strings.Contains(lines, tt.said) || strings.Count(lines, "later than they happened") > 1 {
						t.Errorf("log: %q, want %q", lines, tt.said)
					}
				})
			})
		}
	}
}

// A record that shows a time of long ago, where Duo has it among those of now, is
// odd and not late.
func TestOddTimeIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		a.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, N: -1, Rewrite: func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(`"ts": "2000-01-01T00:0`), []byte(`"ts": "1999-01-01T00:0`))
		}})
		r := a.read(duotest.Activity, defaults, duo.NewCursor(time.Now().Add(-time.Minute), time.Now()))
		trickle(a.server, duotest.Activity, time.Minute, 30*time.Minute, time.Now)
		time.Sleep(10 * time.Minute)
		sameOnce(t, a.server.IDs(duotest.Activity), r.got())
		if lines := r.logs.all(); len(lines) > 0 {
			t.Errorf("log: %q", lines)
		}
	})
}

// A record that Duo changes hours later, as it does the state of a Trust Monitor
// event, comes again and is not late.
func TestUpdateIsNotLate(t *testing.T) {
	for log, id := range map[string]string{duotest.TrustMonitor: `"sekey"`, duotest.Authentication: `"txid"`} {
		synctest.Test(t, func(t *testing.T) {
			a := newAccount(t, duotest.Config{})
			a.server.Add(log, duotest.NewGenerator(log, 5, duotest.Options{}).At(time.Now()))
			r := a.read(log, defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
			time.Sleep(3 * time.Hour)
			a.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, N: -1, Rewrite: func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte(id), []byte(`"changed": true, `+id))
			}})
			time.Sleep(time.Hour)
			r.stop()
			if lines := r.logs.all(); len(r.raws) != 2 || len(lines) > 0 {
				t.Errorf("%s: %d records, want both versions; log: %q", log, len(r.raws), lines)
			}
		})
	}
}

// Nor is anything late because a Duo whose pages are smaller than asked is read
// no further than one of them until the next poll.
func TestSmallPagesAreNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{PageCap: 90})
		a.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, N: -1, Rewrite: metadata("total_objects", "0")})
		now := time.Now()
		a.server.Add(duotest.Activity, duotest.NewGenerator(duotest.Activity, 1, small).Spread(now.Add(-9*time.Minute), now.Add(-2*time.Minute), 150)...)
		r := a.read(duotest.Activity, defaults, duo.NewCursor(now.Add(-time.Hour), now))
		time.Sleep(10 * time.Minute)
		sameOnce(t, a.server.IDs(duotest.Activity), r.got())
		if lines := r.logs.all(); len(lines) > 0 {
			t.Errorf("log: %q", lines)
		}
	})
}

// However many come late, that is said once an hour, with their number.
func TestLateEventsAreSaidHourly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		g := duotest.NewGenerator(duotest.Activity, 5, duotest.Options{})
		r := a.read(duotest.Activity, defaults, duo.NewCursor(time.Now().Add(-time.Minute), time.Now()))
		happened := time.Now()
		time.Sleep(10 * time.Hour)
		for range 180 { // older and older, so that none moves the window on
			happened = happened.Add(-time.Millisecond)
			a.server.AddAt(duotest.Activity, time.Now(), g.At(happened))
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		sameOnce(t, a.server.IDs(duotest.Activity), r.got())
		if n := saying(r, "later than they happened"); n < 3 || n > 4 {
			t.Errorf("said %d times in 3 hours: %q", n, r.logs.all())
		}
	})
}

// Where the overlap takes pages to read again, not every poll does; and what is
// filed late within it comes once all the same, and is not said to be late.
func TestLateEventsWithinSkippedOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		g := duotest.NewGenerator(duotest.Activity, 3, small)
		w := defaults
		w.PageSize = 10
		r := a.read(duotest.Activity, w, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		const seconds = 2 * 3600
		for i := range seconds {
			now := time.Now()
			a.server.Add(duotest.Activity, g.At(now))
			if i%5 == 0 { // up to overlap later than they would have been shown
				a.server.AddAt(duotest.Activity, now.Add(w.Delay+time.Duration(i%61)*w.Overlap/61), g.At(now.Add(time.Second/2)))
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		sameOnce(t, a.server.IDs(duotest.Activity), r.got())
		if lines := r.logs.all(); len(lines) > 0 {
			t.Errorf("log: %q", lines)
		}
		// Each minute has 7 pages; with the overlap at each poll they would be 43.
		if calls := len(a.server.Calls()); calls > 25*seconds/60 {
			t.Errorf("%d calls in %d minutes", calls, seconds/60)
		}
	})
}

// What was left out of the last window before a stop is not left out of the long one
// behind it: more comes in that than can be remembered.
func TestLateEventsBeforeStop(t *testing.T) {
	for stop := range duo.Cases(5) { // minutes, so that it falls on each window between two with the overlap
		synctest.Test(t, func(t *testing.T) {
			a := newAccount(t, duotest.Config{})
			g := duotest.NewGenerator(duotest.Activity, 3, small)
			w := defaults
			w.PageSize, w.MaxSeen = 10, 1500
			r := a.read(duotest.Activity, w, duo.NewCursor(time.Now().Add(-time.Minute), time.Now()))
			live := func(d time.Duration) {
				for range d / time.Second {
					a.server.Add(duotest.Activity, g.At(time.Now()))
					time.Sleep(time.Second)
				}
			}
			live(30*time.Minute + time.Duration(stop)*time.Minute)
			r.stop()
			last := r.poller.Cursor
			for i := range 60 { // within the overlap of what was read last
				at := time.Now().Add(-w.Delay - time.Duration(i)*w.Overlap/61)
				a.server.AddAt(duotest.Activity, time.Now(), g.At(at))
			}
			live(time.Hour)
			again := a.read(duotest.Activity, w, last)
			time.Sleep(time.Hour)
			sameOnce(t, a.server.IDs(duotest.Activity), append(r.got(), again.got()...))
		})
	}
}

// Nor is it forgotten for a burst that comes while it is left out.
func TestLateEventsBeforeBurst(t *testing.T) {
	for at := range duo.Cases(5) { // minutes, so that it falls on each window between two with the overlap
		synctest.Test(t, func(t *testing.T) {
			a := newAccount(t, duotest.Config{})
			g := duotest.NewGenerator(duotest.Activity, 3, small)
			w := defaults
			w.PageSize, w.MaxSeen = 10, 1500
			r := a.read(duotest.Activity, w, duo.NewCursor(time.Now().Add(-time.Minute), time.Now()))
			trickle(a.server, duotest.Activity, time.Second, 30*time.Minute+time.Duration(at)*time.Minute, time.Now)
			now := time.Now()
			for i := range 60 { // within the overlap of what was read last
				a.server.AddAt(duotest.Activity, now.Add(time.Second), g.At(now.Add(-w.Delay-time.Duration(i)*w.Overlap/61)))
			}
			a.server.Add(duotest.Activity, g.Spread(now.Add(-10*time.Second), now, 1150)...)
			trickle(a.server, duotest.Activity, time.Second, 30*time.Minute, time.Now)
			time.Sleep(time.Hour)
			sameOnce(t, a.server.IDs(duotest.Activity), r.got())
		})
	}
}

// A log that went idle with pages within the overlap is not read again at each
// poll, however long nothing comes.
func TestSkippedOverlapOfIdleLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		w := defaults
		w.PageSize = 100
		now := time.Now()
		a.server.Add(duotest.Activity, duotest.NewGenerator(duotest.Activity, 3, small).Spread(now.Add(-5*time.Minute), now.Add(-2*time.Minute), 5000)...)
		a.read(duotest.Activity, w, duo.NewCursor(now.Add(-time.Hour), now))
		time.Sleep(3 * time.Hour)
		before := len(a.server.Calls())
		time.Sleep(time.Hour)
		// Twelve times with the overlap, of 50 pages and an empty one.
		if n := len(a.server.Calls()) - before; n > 12*52+60 {
			t.Errorf("%d calls in an hour", n)
		}
	})
}

// Nor is it after a clock was a day ahead, unknown to Duo's answers, and is set right.
func TestSkippedOverlapAfterClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{MaxSkew: -1})
		clock := &localClock{ahead: 24 * time.Hour}
		a.now = clock.now
		a.wrap = func(rt http.RoundTripper) http.RoundTripper { return dateless{rt} }
		w := defaults
		w.PageSize = 10
		r := a.read(duotest.Activity, w, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		trickle(a.server, duotest.Activity, time.Second, 20*time.Minute, time.Now)
		clock.set(0)
		trickle(a.server, duotest.Activity, time.Second, 20*time.Minute, time.Now)
		before := len(a.server.Calls())
		trickle(a.server, duotest.Activity, time.Second, time.Hour, time.Now)
		if n := len(a.server.Calls()) - before; n > 25*60 {
			t.Errorf("%d calls in an hour", n)
		}
		time.Sleep(time.Hour)
		sameOnce(t, a.server.IDs(duotest.Activity), r.got())
	})
}
