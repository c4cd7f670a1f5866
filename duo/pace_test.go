package duo_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// TestPaceFound: a log catches up under a limit that nobody tells it. What is left
// of the limit, once that was found, and how often it is met, is in
// docs/performance.md; the bounds here are those of a wrong pace.
func TestPaceFound(t *testing.T) {
	for _, limit := range []int{1, 2, 10} { // calls a minute
		for _, kind := range []duotest.BudgetKind{duotest.TokenBucket, duotest.FixedWindow} {
			t.Run(fmt.Sprintf("%d calls a minute, %s", limit, kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const search, hour = 30 * time.Minute, time.Hour
					a := newAccount(t, duotest.Config{Budget: limit, BudgetKind: kind, Latency: 300 * time.Millisecond})
					backlog(a.server, "activity", limit*100)
					w := defaults
					w.PageSize = 1
					begin := time.Now()
					a.read("activity", w, duo.NewCursor(begin.Add(-25*time.Hour), begin))
					time.Sleep(search + hour)
					pages, limited := 0, 0
					for _, c := range a.server.Calls() {
						switch {
						case c.At.Sub(begin) < search:
						case c.Status == 429:
							limited++
						default:
							pages++
						}
					}
					share, between := 100*pages/(limit*60), (pages+limited)/max(limited, 1)
					t.Logf("%d %% of the limit, one 429 in %d calls", share, between)
					if share < 50 || share > 100 || between < 8 {
						t.Errorf("want 50 to 100 %%, and one in at least 8")
					}
				})
			})
		}
	}
}
