package duo_test

import (
	"context"
	"flag"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

var allPaces = flag.Bool("paces", false, "try every limit, way of counting and latency")

// TestPaceFound: a log catches up under a limit that nobody tells it. After the
// first half hour it uses at least 85 % of it, and at most one call in 20 is
// refused.
func TestPaceFound(t *testing.T) {
	kinds := []duotest.BudgetKind{duotest.TokenBucket, duotest.FixedWindow, duotest.SlidingWindow}
	for i, limit := range []int{1, 2, 10, 50, 600} { // calls a minute
		for j, kind := range kinds {
			for k, counted := range []bool{false, true} {
				for l, latency := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond} {
					if !*allPaces && (l != (i+j)%3 || k != (i+j)%2 || limit > 10 && j != 1 || limit > 50) {
						continue // of each limit and way of counting one case
					}
					words := map[bool]string{false: "not counted", true: "counted"}
					name := fmt.Sprintf("N=%d %s %s latency %v", limit, kind, words[counted], latency)
					t.Run(name, func(t *testing.T) {
						if limit > 10 && !*allPaces {
							duo.SkipUnderRace(t)
						}
						synctest.Test(t, func(t *testing.T) {
							paceFound(t, name, limit, duotest.Config{BudgetKind: kind, CountRefused: counted, Latency: latency})
						})
					})
				}
			}
		}
	}
}

func paceFound(t *testing.T, name string, limit int, c duotest.Config) {
	const search = 30 * time.Minute
	length := max(time.Hour, 4*time.Hour/time.Duration(limit))
	possible := limit
	if c.Latency > 0 {
		possible = min(limit, int(time.Minute/c.Latency)) // one page after the other
	}
	begin := time.Now()
	pages, limited := 0, 0
	c.Budget, c.OnCall = limit, func(c duotest.Call) {
		switch {
		case c.At.Sub(begin) < search:
		case c.Status == http.StatusTooManyRequests:
			limited++
		default:
			pages++
		}
	}
	a := newAccount(t, c)
	g := duotest.NewGenerator("activity", 1, small)
	a.server.Add("activity", g.Spread(begin.Add(-24*time.Hour), begin.Add(-3*time.Minute), possible*int((search+length)/time.Minute)+2*limit)...)
	w := defaults
	w.PageSize = 1
	r := a.read("activity", w, duo.NewCursor(begin.Add(-25*time.Hour), begin))
	time.Sleep(search + length)
	r.stop()
	share, between := 100*float64(pages)/(float64(possible)*length.Minutes()), (pages+limited)/max(limited, 1)
	t.Logf("%s: %.0f %% of the limit, one 429 in %d calls", name, share, between)
	// A bucket that was full when the hour began holds another minute's calls.
	if most := 100 + 100*time.Minute.Hours()/length.Hours(); share < 85 || share > most+1 || between < 20 {
		t.Errorf("want at least 85 %%, no more than %.1f %%, and one in at least 20", most)
	}
}

// TestPaceShared: where three logs, or ten collectors of one, have one limit
// together, none is starved. From the third hour to the sixth the one that has
// least has half of its part of the whole limit, as a mean of several runs, and none
// less than a third of it or more than double; together they use 75 % of what a window
// allows, and 95 % of a bucket. Each meets it for all of them, so that the pauses cost
// more than they do of a log alone.
func TestPaceShared(t *testing.T) {
	if !*allPaces {
		duo.SkipUnderRace(t)
	}
	least := map[duotest.BudgetKind]float64{duotest.TokenBucket: 95, duotest.FixedWindow: 75, duotest.SlidingWindow: 75}
	for _, shared := range []struct {
		limit   int
		logs    []string
		between int // calls for a 429, at least
	}{{10, duotest.Logs(), 12}, {30, duotest.Logs(), 20}, {120, duotest.Logs(), 20}, {60, slices.Repeat([]string{duotest.Activity}, 10), 20}} {
		for _, kind := range []duotest.BudgetKind{duotest.TokenBucket, duotest.FixedWindow, duotest.SlidingWindow} {
			for _, counted := range []bool{false, true} {
				if !*allPaces && (shared.limit != 30 || kind != duotest.FixedWindow) || counted && kind == duotest.FixedWindow {
					continue
				}
				t.Run(fmt.Sprintf("N=%d of %d %s counted %v", shared.limit, len(shared.logs), kind, counted), func(t *testing.T) {
					runs, sum := 1, 0.0
					if *allPaces {
						runs = 5
					}
					for run := range runs {
						c := duotest.Config{Budget: shared.limit, BudgetKind: kind, BudgetShared: true, CountRefused: counted, Latency: time.Duration(30+10*run) * time.Millisecond}
						synctest.Test(t, func(t *testing.T) {
							sum += paceShared(t, c, shared.logs, time.Duration(run%3)*7*time.Minute, least[kind], shared.between)
						})
					}
					t.Logf("the one that has least: %.0f %% of its part, on average", sum/float64(runs))
					if runs > 1 && sum/float64(runs) < 50 {
						t.Error("want half of it")
					}
				})
			}
		}
	}
}

// paceShared is one run, in which each stream starts so long after the one before
// it. It returns how much of its part of the limit the one has that has least, in
// percent.
func paceShared(t *testing.T, c duotest.Config, logs []string, apart time.Duration, together float64, between int) float64 {
	const search, length = 2 * time.Hour, 4 * time.Hour
	begin := time.Now()
	var refused atomic.Int64
	c.OnCall = func(c duotest.Call) {
		if c.At.Sub(begin) >= search && c.Status != http.StatusOK {
			refused.Add(1)
		}
	}
	a := newAccount(t, c)
	w := defaults
	w.PageSize = 1
	var all []*reading
	for i, log := range logs {
		if !slices.Contains(logs[:i], log) {
			backlog(a.server, log, c.Budget*int((search+length)/time.Minute))
		}
		all = append(all, a.read(log, w, duo.NewCursor(begin.Add(-25*time.Hour), begin)))
		time.Sleep(apart / time.Duration(len(logs)))
	}
	before := make([]int, len(all)) // pages, each of one record
	time.Sleep(search - time.Since(begin))
	for i, r := range all {
		before[i] = len(r.got())
	}
	time.Sleep(length)
	sum, least := 0, math.Inf(1)
	var parts []string
	for i, r := range all {
		r.stop()
		n := len(r.got()) - before[i]
		sum += n
		part := 100 * float64(n*len(all)) / (float64(c.Budget) * length.Minutes())
		parts, least = append(parts, fmt.Sprintf("%.0f", part)), min(least, part)
		if part < 100./3 || part > 200 {
			t.Errorf("%s has %.0f %% of its part of the limit, want a third to double", r.poller.Log.Name, part)
		}
	}
	share, calls := 100*float64(sum)/(float64(c.Budget)*length.Minutes()), (sum+int(refused.Load()))/max(int(refused.Load()), 1)
	t.Logf("latency %v, %v apart: %s %% of their parts, together %.0f %%, one 429 in %d calls", c.Latency, apart, strings.Join(parts, ", "), share, calls)
	if share < together || calls < between {
		t.Errorf("want together at least %.0f %%, and one in at least %d", together, between)
	}
	return least
}

// TestPaceOther: another collector takes half of the limit, come what may.
func TestPaceOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, search, length = 30, 30 * time.Minute, 2 * time.Hour
		begin := time.Now()
		ours, refused := 0, 0
		a := newAccount(t, duotest.Config{Budget: limit, BudgetKind: duotest.FixedWindow, BudgetShared: true, Latency: 50 * time.Millisecond, OnCall: func(c duotest.Call) {
			switch {
			case c.Log != duotest.Activity || c.At.Sub(begin) < search:
			case c.Status == http.StatusOK:
				ours++
			default:
				refused++
			}
		}})
		backlog(a.server, duotest.Activity, limit*int((search+length)/time.Minute))
		w := defaults
		w.PageSize = 1
		r := a.read(duotest.Activity, w, duo.NewCursor(begin.Add(-25*time.Hour), begin))
		other, c := a.client(), context.Background()
		telephony, err := duo.LookupLog(duotest.Telephony)
		if err != nil {
			t.Fatal(err)
		}
		for time.Since(begin) < search+length {
			_ = other.Probe(c, telephony, w) // and does not mind a 429
			time.Sleep(4 * time.Second)
		}
		r.stop()
		share, between := 100*float64(ours)/(limit/2*length.Minutes()), (ours+refused)/max(refused, 1)
		t.Logf("N=%d, another takes half: %.0f %% of the rest, one 429 in %d calls", limit, share, between)
		if share < 80 || between < 20 {
			t.Errorf("want at least 80 %%, and one in at least 20")
		}
	})
}

// TestPaceFollows: a limit that changes while a log catches up is found again.
func TestPaceFollows(t *testing.T) {
	for _, tt := range []struct {
		from, to int
		within   time.Duration // until 80 % of it are used
		refused  int
	}{{30, 120, 20 * time.Minute, 6}, {30, 12, 15 * time.Minute, 7}} {
		for _, kind := range []duotest.BudgetKind{duotest.TokenBucket, duotest.FixedWindow, duotest.SlidingWindow} {
			if !*allPaces && kind != duotest.SlidingWindow {
				continue
			}
			t.Run(fmt.Sprintf("%d to %d %s", tt.from, tt.to, kind), func(t *testing.T) {
				if tt.to > tt.from && !*allPaces {
					duo.SkipUnderRace(t)
				}
				synctest.Test(t, func(t *testing.T) {
					const before, span = 100 * time.Minute, 10 * time.Minute
					begin := time.Now()
					var good, bad []time.Duration // since the change
					a := newAccount(t, duotest.Config{Budget: tt.from, BudgetKind: kind, Latency: 50 * time.Millisecond, OnCall: func(c duotest.Call) {
						if at := c.At.Sub(begin) - before; at < 0 {
						} else if c.Status == http.StatusOK {
							good = append(good, at)
						} else {
							bad = append(bad, at)
						}
					}})
					backlog(a.server, duotest.Activity, max(tt.from, tt.to)*int((before+tt.within+2*span)/time.Minute))
					w := defaults
					w.PageSize = 1
					r := a.read(duotest.Activity, w, duo.NewCursor(begin.Add(-25*time.Hour), begin))
					time.Sleep(before)
					a.server.SetBudget(tt.to)
					time.Sleep(tt.within + 2*span)
					r.stop()
					within := func(times []time.Duration, from, to time.Duration) (n int) {
						for _, at := range times {
							if at >= from && at < to {
								n++
							}
						}
						return n
					}
					found := time.Duration(0)
					for found < tt.within+span && float64(within(good, found, found+span)) < 0.8*float64(tt.to)*span.Minutes() {
						found += 30 * time.Second
					}
					refused := within(bad, 0, found+span)
					t.Logf("N=%d then %d %s: used to 80 %% after %v, with %d 429s until ten minutes later", tt.from, tt.to, kind, found, refused)
					if found > tt.within || refused > tt.refused {
						t.Errorf("want %v and %d", tt.within, tt.refused)
					}
				})
			})
		}
	}
}

// TestPaceOutlivesRestart: what was found is in the cursor, so that a restart in
// the middle of a catch-up does not meet the limit again.
func TestPaceOutlivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var refused []time.Duration
		a := newAccount(t, duotest.Config{Budget: 10, BudgetKind: duotest.SlidingWindow, Latency: 50 * time.Millisecond, OnCall: func(c duotest.Call) {
			if c.Status != http.StatusOK {
				refused = append(refused, c.At.Sub(begin))
			}
		}})
		backlog(a.server, duotest.Activity, 2000)
		w := defaults
		w.PageSize = 1
		r := a.read(duotest.Activity, w, duo.NewCursor(begin.Add(-25*time.Hour), begin))
		time.Sleep(20 * time.Minute)
		r.stop()
		before := len(refused)
		again := a.read(duotest.Activity, w, r.resumed(t))
		time.Sleep(3 * time.Minute)
		again.stop()
		if before == 0 || len(refused) != before {
			t.Errorf("429s at %v, want some before the restart at 20m and none after it", refused)
		}
		if n := len(again.got()); n < 27 || n > 31 {
			t.Errorf("%d pages in the three minutes after the restart, want about 29", n)
		}
	})
}

// TestWindowsStartToStart: the window after a long catch-up is due when it ends,
// and an idle log is asked each poll_interval, not that long after each answer.
func TestWindowsStartToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var windows []time.Duration // starts of the calls that open one
		begin := time.Now()
		a := newAccount(t, duotest.Config{Latency: time.Second, OnCall: func(c duotest.Call) {
			if c.Param("next_offset") == "" {
				windows = append(windows, c.At.Sub(begin))
			}
		}})
		backlog(a.server, duotest.Activity, 150)
		w := defaults
		w.PageSize = 1
		r := a.read(duotest.Activity, w, duo.NewCursor(begin.Add(-25*time.Hour), begin))
		time.Sleep(6 * time.Minute)
		r.stop()
		if len(windows) != 5 {
			t.Errorf("windows at %v, want five", windows)
		}
		for i := 1; i < len(windows); i++ {
			want := time.Minute
			if i == 1 {
				want = 151 * time.Second // as long as 150 pages and an empty one take
			}
			if got := (windows[i] - windows[i-1]).Round(time.Second); got != want {
				t.Errorf("windows at %v: %v before number %d, want %v", windows, got, i, want)
			}
		}
	})
}

// TestPaceAfterTrouble: where Duo refuses each other call for hours, and then none,
// a log that lags is at full speed within the hour, and is never held for longer
// than a minute between two calls, but for the pause that Duo's answer asks for.
func TestPaceAfterTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trouble = 4 * time.Hour
		begin := time.Now()
		var calls atomic.Int64
		a := newAccount(t, duotest.Config{OnCall: func(duotest.Call) { calls.Add(1) }})
		a.server.Fault(duotest.Fault{Kind: duotest.FaultRateLimit, N: -1, Match: func(duotest.Call) bool { return calls.Load()%2 == 1 }})
		backlog(a.server, duotest.Activity, 3000)
		w := defaults
		w.PageSize = 1
		r := a.read(duotest.Activity, w, duo.NewCursor(begin.Add(-25*time.Hour), begin))
		time.Sleep(trouble)
		if least, n := int64(trouble.Minutes()/2.2), calls.Load(); n < least {
			t.Errorf("%d calls in %v, want %d", n, trouble, least)
		}
		a.server.ClearFaults()
		time.Sleep(50 * time.Minute)
		before := len(r.got())
		time.Sleep(5 * time.Minute)
		if n := len(r.got()); n < 3000 && n-before < 500 {
			t.Errorf("%d pages 50 minutes after the trouble, and %d in the 5 minutes then", before, n-before)
		}
	})
}

// TestPaceForgotten: a log that is idle meets a 429 by chance, which is no reason to
// read slowly when there is something to read, hours later.
func TestPaceForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		a := newAccount(t, duotest.Config{})
		w := defaults
		w.PageSize = 1
		r := a.read(duotest.Activity, w, duo.NewCursor(begin.Add(-time.Minute), begin))
		time.Sleep(time.Hour)
		a.server.Fault(duotest.Fault{Kind: duotest.FaultRateLimit, N: 1})
		time.Sleep(2 * time.Hour)
		now := time.Now()
		a.server.Add(duotest.Activity, duotest.NewGenerator(duotest.Activity, 1, small).Spread(now.Add(-time.Minute), now, 300)...)
		time.Sleep(w.Delay + 3*w.PollInterval)
		sameOnce(t, a.server.IDs(duotest.Activity), r.got())
	})
}
