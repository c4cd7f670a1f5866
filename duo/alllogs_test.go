package duo_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

var borders = flag.Int("borders", 2, "at how many places TestFullPagesOfSeconds puts a page border, evenly over 1,500 records")

// Every log that there is, with odd records among the others, arrives whole
// and once.
func TestEveryLogArrivesOnce(t *testing.T) {
	for _, log := range duotest.AllLogs() {
		t.Run(log, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				now := time.Now()
				g := duotest.NewGenerator(log, 7, duotest.Options{Quirks: 0.5})
				a.server.Add(log, g.Spread(now.Add(-2*time.Hour), now.Add(-3*time.Minute), 1200)...)
				r := a.read(log, defaults, duo.NewCursor(now.Add(-3*time.Hour), now))
				time.Sleep(15 * time.Minute)
				sameOnce(t, texts(a.server.Records(log)), r.gotRaw())
				if n := len(slices.Compact(slices.Sorted(slices.Values(r.events)))); n != len(r.events) {
					t.Errorf("%d of %d event_ids are unique", n, len(r.events))
				}
			})
		})
	}
}

// Of 1,500 records 999 lie in one second. Wherever the border between two pages
// of 1,000 falls, nothing is missing and nothing comes twice.
func TestFullPagesOfSeconds(t *testing.T) {
	for _, log := range []string{duotest.Administrator, duotest.OfflineEnrollment, duotest.TelephonyV1} {
		for _, exclusive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, exclusive %v", log, exclusive), func(t *testing.T) {
				g := duotest.NewGenerator(log, 3, duotest.Options{})
				begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-2 * time.Hour) // a bubble begins with 2000
				records := spreadWith(g, begin, 1500, 999)
				for i := range *borders {
					// The border comes behind this many of the 1,500.
					border := 1 + i*1499 / *borders
					synctest.Test(t, func(t *testing.T) {
						a := newAccount(t, duotest.Config{V1Exclusive: exclusive})
						before := g.Spread(begin.Add(-time.Hour), begin.Add(-time.Minute), 1000-border%1000)
						a.server.Add(log, before...)
						a.server.Add(log, records...)
						r := a.read(log, defaults, duo.NewCursor(begin.Add(-2*time.Hour), time.Now()))
						time.Sleep(5 * time.Minute)
						sameOnce(t, texts(a.server.Records(log)), r.gotRaw())
						if lines := r.logs.all(); len(lines) > 0 {
							t.Errorf("log: %q", lines)
						}
					})
				}
			})
		}
	}
}

// Of 1,001 records in one second Duo shows 1,000: that is said once, and all
// that comes before and behind that second arrives.
func TestOverfullSecond(t *testing.T) {
	for _, log := range []string{duotest.Administrator, duotest.OfflineEnrollment, duotest.TelephonyV1} {
		for _, exclusive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, exclusive %v", log, exclusive), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAccount(t, duotest.Config{V1Exclusive: exclusive})
					records := spreadWith(duotest.NewGenerator(log, 3, duotest.Options{}), time.Now().Add(-2*time.Hour), 1502, 1001)
					a.server.Add(log, records...)
					r := a.read(log, defaults, duo.NewCursor(time.Now().Add(-3*time.Hour), time.Now()))
					time.Sleep(15 * time.Minute)
					if got := len(r.gotRaw()); got != 1501 {
						t.Errorf("%d of 1,502 records arrived, want all but one", got)
					}
					want := fmt.Sprintf("WARN %s: 1000 records of the second 1999-12-31T23:00:00Z fill a page", log)
					if lines := r.logs.all(); len(lines) != 1 || !strings.HasPrefix(lines[0], want) {
						t.Errorf("log %q, want one line: %s", lines, want)
					}
				})
			})
		}
	}
}

// Two such seconds are said once each, however often the overlap is read again.
func TestTwoOverfullSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		g := duotest.NewGenerator(duotest.Administrator, 3, duotest.Options{})
		at := time.Now().Add(-time.Hour)
		for i := range 2002 {
			a.server.Add(duotest.Administrator, g.At(at.Add(time.Duration(i/1001*10)*time.Second)))
		}
		r := a.read(duotest.Administrator, defaults, duo.NewCursor(at.Add(-time.Hour), time.Now()))
		time.Sleep(5 * time.Minute)
		if lines := r.logs.all(); len(lines) != 2 {
			t.Errorf("log %q, want two lines", lines)
		}
	})
}

// spreadWith returns n records of an hour around begin + 1 h, many of which lie
// in that one second.
func spreadWith(g *duotest.Generator, begin time.Time, n, many int) []json.RawMessage {
	middle := begin.Add(time.Hour)
	before := (n - many) / 2
	records := g.Spread(middle.Add(-time.Hour), middle.Add(-time.Second), before)
	for range many {
		records = append(records, g.At(middle))
	}
	return append(records, g.Spread(middle.Add(time.Second), middle.Add(30*time.Minute), n-many-before)...)
}

// A log that Duo has retired is said once, asked for slowly, and read on if it
// comes back.
func TestRetiredLog(t *testing.T) {
	for _, status := range []int{403, 404, 410} {
		for _, log := range []string{duotest.Administrator, duotest.TelephonyV1, duotest.TrustMonitor} {
			t.Run(fmt.Sprint(log, " ", status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAccount(t, duotest.Config{})
					backlog(a.server, log, 50)
					a.server.Retire(log, status)
					r := a.read(log, defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
					time.Sleep(2 * time.Hour)
					lines := r.logs.all()
					if len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN "+log+": ") {
						t.Errorf("log: %q", lines)
					}
					if n := a.server.Count(log).Calls; n > 2*12 {
						t.Errorf("%d calls in 2 hours, more than one in 5 minutes", n)
					}
					a.server.Retire(log, 0)
					time.Sleep(time.Hour)
					sameOnce(t, texts(a.server.Records(log)), r.gotRaw())
				})
			})
		}
	}
}

func texts(records []json.RawMessage) (all []string) {
	for _, r := range records {
		all = append(all, string(r))
	}
	return all
}

func (r *reading) gotRaw() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.raws)
}
