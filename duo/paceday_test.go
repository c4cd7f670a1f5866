package duo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sort"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

var wholeDay = flag.Bool("day", false, "TestPaceDay takes a whole day and a million events, not a quarter of an hour's worth of each hour")

// day is one of a large tenant. Events come by the hour: few at night, most in
// the morning and after noon.
type day struct {
	length   time.Duration // 24 hours, or fewer, to which all that happens is scaled
	events   int
	pageSize int // small, so that the limit bites: see TestPaceDay
	begin    time.Time
	at       []time.Time // of the events, in order
	got      []uint8     // how often each has come
	next     int         // the first that has not
	down     atomic.Bool // connections are refused
}

// part is a part of the day.
func (d *day) part(hours float64) time.Duration {
	return time.Duration(hours / 24 * float64(d.length))
}

// plan says when the events come.
func (d *day) plan() {
	weight := func(hour float64) float64 { return 1 - 0.8*math.Cos(hour/12*math.Pi) + 0.3*math.Cos(hour/4*math.Pi) }
	const slots = 24 * 60 * 6
	sum, done := 0.0, 0.0
	for i := range slots {
		sum += weight(24 * float64(i) / slots)
	}
	d.got = make([]uint8, d.events)
	for i := range slots {
		share := weight(24*float64(i)/slots) / sum * float64(d.events)
		for n := math.Floor(done + 1); n <= done+share && len(d.at) < d.events; n++ {
			d.at = append(d.at, d.begin.Add(time.Duration((float64(i)+(n-done)/share)/slots*float64(d.length))))
		}
		done += share
	}
	for len(d.at) < d.events {
		d.at = append(d.at, d.begin.Add(d.length))
	}
}

func (d *day) feed(s *duotest.Server) {
	for n := 0; n < len(d.at); {
		time.Sleep(5 * time.Second)
		var batch []json.RawMessage
		for ; n < len(d.at) && !d.at[n].After(time.Now()); n++ {
			batch = append(batch, fmt.Appendf(nil, `{"txid":"%08d","isotimestamp":"%s"}`, n, d.at[n].UTC().Format("2006-01-02T15:04:05.000000+00:00")))
		}
		s.Add(duotest.Authentication, batch...)
	}
}

func (d *day) deliver(_ context.Context, records []duo.Record, _ duo.Cursor) error {
	for _, r := range records {
		digits, _, _ := bytes.Cut(bytes.TrimPrefix(r.Raw, []byte(`{"txid":"`)), []byte(`"`))
		n, err := strconv.Atoi(string(digits))
		if err != nil {
			return err
		}
		d.got[n]++
	}
	for d.next < len(d.got) && d.got[d.next] > 0 {
		d.next++
	}
	return nil
}

// lag is the age of the oldest event that has not come.
func (d *day) lag(now time.Time) time.Duration {
	if d.next == len(d.at) || d.at[d.next].After(now) {
		return 0
	}
	return now.Sub(d.at[d.next])
}

// least is how long it takes from a moment on until lag is down, if each call that
// the limit allows brings a page: of events that have not come yet, or with
// windows that each begin an overlap before the one before them ended.
func (d *day) least(from time.Time, next, limit int, lag time.Duration, windows bool) time.Duration {
	index := func(at time.Time) int {
		return sort.Search(len(d.at), func(i int) bool { return d.at[i].After(at) })
	}
	at, end := next, len(d.at)
	for now := from; ; now = now.Add(time.Minute / time.Duration(limit)) {
		if windows && at >= end || now == from && windows {
			at, end = index(d.at[next].Add(-defaults.Overlap)), index(now.Add(-defaults.Delay))
		}
		at = min(at+d.pageSize, end, index(now.Add(-defaults.Delay)))
		if next = max(next, at); next >= len(d.at) || now.Sub(d.at[next]) <= lag {
			return now.Sub(from)
		}
	}
}

// RoundTrip refuses connections while Duo is down.
func (d *day) refusing(rt http.RoundTripper) http.RoundTripper { return refusing{rt, &d.down} }

type refusing struct {
	http.RoundTripper
	down *atomic.Bool
}

func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.down.Load() {
		return nil, errors.Join(errors.New("dial tcp"), syscall.ECONNREFUSED)
	}
	return r.RoundTripper.RoundTrip(req)
}

// TestPaceDay: a day with a million events, a limit of 30 calls a minute that
// falls to 20 at noon, 40 minutes in which Duo answers 503 and two hours in which
// it cannot be reached. At 1,000 records a call that limit would never be felt, so
// pages have 100: a day is 10,000 of them, 7 a minute, 12 at its height, beside
// those of the overlap, which are read again.
func TestPaceDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &day{length: 6 * time.Hour, events: 25_000, pageSize: 10, begin: time.Now()}
		if *wholeDay {
			d.length, d.events, d.pageSize = 24*time.Hour, 1_000_000, 100
		}
		d.plan()
		const back = 5 * time.Minute // lag is back when it is no more than this
		var calls, refused, lagging atomic.Int64
		limit := atomic.Int64{}
		limit.Store(30)
		possible := 0.0 // calls that the limit allowed while there was lag
		behind := atomic.Bool{}
		a := newAccount(t, duotest.Config{Budget: 30, Latency: 50 * time.Millisecond, OnCall: func(c duotest.Call) {
			calls.Add(1)
			switch {
			case c.Status == http.StatusTooManyRequests:
				refused.Add(1)
			case c.Status == http.StatusOK && behind.Load():
				lagging.Add(1)
			}
		}})
		a.wrap = d.refusing
		w := defaults
		w.PageSize = d.pageSize
		l, err := duo.LookupLog(duotest.Authentication)
		if err != nil {
			t.Fatal(err)
		}
		p := &duo.Poller{Log: l, Client: a.client(), Window: w, Cursor: duo.NewCursor(d.begin, d.begin), Logger: slog.New(&logLines{}), Deliver: d.deliver}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = p.Run(ctx) }()
		go d.feed(a.server)

		var longest time.Duration
		during := false // an outage
		// watch samples the lag until a moment, or until it is back.
		watch := func(until time.Duration, tillBack bool) {
			for time.Since(d.begin) < until {
				time.Sleep(time.Second)
				synctest.Wait()
				lag := d.lag(time.Now())
				longest = max(longest, lag)
				behind.Store(lag > back && !during)
				if behind.Load() {
					possible += float64(limit.Load()) / 60
				}
				if tillBack && lag <= back {
					return
				}
			}
		}
		outage := func(from, hours float64, begin, end func()) {
			watch(d.part(from), false)
			begin()
			during = true
			watch(d.part(from+hours), false)
			end()
			during = false
			ended, next := time.Now(), d.next
			watch(2*d.length, true)
			took := time.Since(ended)
			once, least := d.least(ended, next, int(limit.Load()), back, false), d.least(ended, next, int(limit.Load()), back, true)
			t.Logf("after %v without Duo: lag was back after %v; the limit allows %v with the overlap, ratio %.2f, and %v if nothing were read twice, ratio %.2f",
				d.part(hours), took.Round(time.Second), least.Round(time.Second), took.Seconds()/least.Seconds(), once.Round(time.Second), took.Seconds()/once.Seconds())
			// A back-off of up to a minute comes before the first call that succeeds.
			if took.Seconds() > 1.25*least.Seconds()+60 {
				t.Errorf("want at most 1.25 of the first, and a minute")
			}
		}
		outage(6, 40./60, func() {
			a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusServiceUnavailable, N: -1})
		}, a.server.ClearFaults)
		watch(d.part(12), false)
		limit.Store(20)
		a.server.SetBudget(20)
		outage(14, 2, func() { d.down.Store(true) }, func() { d.down.Store(false) })
		watch(d.length, false)
		time.Sleep(3 * time.Hour)
		cancel()
		<-done
		missing, twice := 0, 0
		for _, n := range d.got {
			if n == 0 {
				missing++
			} else if n > 1 {
				twice++
			}
		}
		t.Logf("%d events: %d missing, %d twice; %d calls, %d of them 429; longest lag %v; %.0f %% of the limit used while there was lag",
			d.events, missing, twice, calls.Load(), refused.Load(), longest.Round(time.Second), 100*float64(lagging.Load())/possible)
		if missing+twice > 0 || refused.Load()*20 > calls.Load() {
			t.Error("want none missing, none twice, and at most one call in 20 refused")
		}
	})
}
