package duo_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // the zones, wherever the test runs

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// Whatever the zone of the machine, the night in which its clocks are changed
// is one like any other, and what is stored is in UTC.
func TestZones(t *testing.T) {
	for _, tt := range []struct {
		zone  string
		night time.Time
	}{
		{"America/New_York", time.Date(2000, 4, 2, 0, 0, 0, 0, time.UTC)},     // an hour less
		{"America/New_York", time.Date(2000, 10, 29, 0, 0, 0, 0, time.UTC)},   // an hour more
		{"Australia/Lord_Howe", time.Date(2000, 8, 26, 6, 0, 0, 0, time.UTC)}, // half an hour
		{"Asia/Kathmandu", time.Date(2000, 8, 26, 6, 0, 0, 0, time.UTC)},      // 5 hours 45 from UTC, always
	} {
		t.Run(tt.zone+tt.night.Format(" 2 January"), func(t *testing.T) {
			local := time.Local
			t.Cleanup(func() { time.Local = local })
			var err error
			if time.Local, err = time.LoadLocation(tt.zone); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(tt.night))
				a := newAccount(t, duotest.Config{})
				r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
				trickle(a.server, "activity", 97*time.Second, 20*time.Hour, time.Now)
				time.Sleep(10 * time.Minute)
				sameOnce(t, a.server.IDs("activity"), r.got())
				if stored := r.stored(t); bytes.Count(stored, []byte(`Z"`)) < 3 || bytes.Contains(stored, []byte(`+0`)) {
					t.Errorf("stored: %.400s", stored)
				}
				if n := len(a.server.Calls()); n > 20*60+60 {
					t.Errorf("%d calls in 20 hours", n)
				}
			})
		})
	}
}

// A machine that is suspended: its clock leaps ahead, and what counts from a
// beginning to an end (waits, timeouts) does not. All that happened meanwhile
// arrives once, and soon, whatever the poller was doing.
func TestSuspended(t *testing.T) {
	const away = 8 * time.Hour
	for _, tt := range []struct {
		name  string
		fault duotest.Fault
		begin time.Duration // how long the poller has run
	}{
		{"idle", duotest.Fault{}, 30*time.Minute + 30*time.Second},
		{"in the middle of a window", duotest.Fault{Kind: duotest.FaultSlow, Delay: 20 * time.Second, N: -1}, 50 * time.Second},
		{"during a call that hangs", duotest.Fault{Kind: duotest.FaultHang, N: 1}, 10 * time.Second},
		{"while calls are limited", duotest.Fault{Kind: duotest.FaultRateLimit, N: 3}, 90 * time.Second},
		{"while keys are refused", duotest.Fault{Kind: duotest.FaultStatus, Status: 401, N: 2}, 2 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wall := &localClock{}
				a := newAccount(t, duotest.Config{Now: wall.now, MaxSkew: -1})
				a.now = wall.now
				backlog(a.server, "activity", 3000)
				if tt.fault.Kind != "" {
					a.server.Fault(tt.fault)
				}
				r := a.read("activity", defaults, duo.NewCursor(wall.now().Add(-25*time.Hour), wall.now()))
				time.Sleep(tt.begin)
				g := duotest.NewGenerator("activity", 7, duotest.Options{})
				for at := time.Duration(0); at < away; at += 3 * time.Minute {
					a.server.Add("activity", g.At(wall.now().Add(at)))
				}
				wall.set(away)
				time.Sleep(time.Second)
				a.server.ClearFaults()
				time.Sleep(6 * time.Minute)
				sameOnce(t, a.server.IDs("activity"), r.got())
				if n := saying(r, "later than they happened"); n > 0 {
					t.Errorf("log: %q", r.logs.all())
				}
			})
		})
	}
}

// A clock that is hours wrong, from the beginning or from the middle on, with an
// answer's Date to tell it by or without: nothing is missing when it is right
// again, and nothing comes twice.
func TestClockWrongByHours(t *testing.T) {
	for _, off := range []time.Duration{-5 * time.Hour, -3 * time.Minute, 3 * time.Minute, 5 * time.Hour} {
		for _, dateless := range []bool{false, true} {
			for _, begin := range []time.Duration{0, 20 * time.Minute} {
				t.Run(fmt.Sprintf("%v after %v, no Date %v", off, begin, dateless), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						clock := &localClock{}
						a := newAccount(t, duotest.Config{MaxSkew: -1})
						a.now = clock.now
						if dateless {
							a.wrap = func(rt http.RoundTripper) http.RoundTripper { return undated{rt} }
						}
						time.AfterFunc(begin, func() { clock.set(off) })
						time.AfterFunc(3*time.Hour, func() { clock.set(0) })
						r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
						trickle(a.server, "activity", 41*time.Second, 4*time.Hour, time.Now)
						time.Sleep(10 * time.Minute)
						sameOnce(t, a.server.IDs("activity"), r.got())
						if n := len(a.server.Calls()); n > 500 {
							t.Errorf("%d calls in 4 hours", n)
						}
						if !dateless && strings.Contains(strings.Join(r.logs.all(), "\n"), "later than they happened") {
							t.Errorf("log: %q", r.logs.all())
						}
					})
				})
			}
		}
	}
}

// undated takes the Date out of answers.
type undated struct{ http.RoundTripper }

func (u undated) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Header.Del("Date")
	}
	return resp, err
}
