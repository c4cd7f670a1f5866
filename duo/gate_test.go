package duo

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestGateFairness: a stream that has hundreds of pages to read gets one in each
// round, as every other does, and they come in their order.
func TestGateFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams, rounds = 100, 5
		var g Gate
		var mu sync.Mutex
		var order []int
		inside, most := 0, 0
		var all sync.WaitGroup
		for i := range streams {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond) // the order in which they come
				for range rounds {
					p, err := g.enter(t.Context(), false)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					order = append(order, i)
					inside++
					most = max(most, inside)
					mu.Unlock()
					time.Sleep(time.Second)
					mu.Lock()
					inside--
					mu.Unlock()
					p.leave()
				}
			})
		}
		all.Wait()
		if most != gateSlots {
			t.Errorf("%d were inside at once, want %d", most, gateSlots)
		}
		for r := range rounds - 1 {
			round := slices.Sorted(slices.Values(order[r*streams : (r+1)*streams]))
			if diff := cmp.Diff(streams, len(slices.Compact(round))); diff != "" {
				t.Errorf("round %d, streams that had a turn (-want +got):\n%s", r, diff)
			}
		}
	})
}

// TestGateSuspects: however many hang, the others find a place at once, and
// those that hang have their quarter.
func TestGateSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var hung atomic.Int32
		for range 500 {
			all.Go(func() {
				for {
					p, err := g.enter(ctx, true)
					if err != nil {
						return
					}
					time.Sleep(30 * time.Second)
					hung.Add(1)
					p.leave()
				}
			})
		}
		synctest.Wait()
		var worst time.Duration
		for range 1000 {
			began := time.Now()
			p, err := g.enter(ctx, false)
			if err != nil {
				t.Fatal(err)
			}
			worst = max(worst, time.Since(began))
			time.Sleep(300 * time.Millisecond)
			p.leave()
		}
		cancel()
		all.Wait()
		if worst != 0 {
			t.Errorf("one waited for %v", worst)
		}
		if want, hung := int32(gateSlots/4*10), hung.Load(); hung < want {
			t.Errorf("%d of those that hang had a turn in 300 s, want %d", hung, want)
		}
		if g.inside != 0 || g.suspects != 0 || g.waiting.Len() != 0 {
			t.Errorf("at the end %d are inside, %d suspect, %d wait", g.inside, g.suspects, g.waiting.Len())
		}
	})
}

// TestGateFirstHang: calls that nobody knows to hang give their places up after
// a while, so that those behind them wait no longer than that, up to a number.
func TestGateFirstHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		var all sync.WaitGroup
		began := time.Now()
		took := make([]time.Duration, gateSlots+maxHanging+1)
		for i := range took {
			time.Sleep(time.Millisecond)
			all.Go(func() {
				p, err := g.enter(t.Context(), false)
				if err != nil {
					t.Error(err)
					return
				}
				took[i] = time.Since(began).Round(time.Second)
				time.Sleep(30 * time.Second)
				p.answer()
				p.leave()
			})
		}
		all.Wait()
		for i, d := range took {
			want := time.Duration(i/gateSlots) * hangAfter
			if i == gateSlots+maxHanging {
				want = 30 * time.Second
			}
			if d != want {
				t.Errorf("call %d had to wait for %v, want %v", i, d, want)
			}
		}
		if g.inside != 0 || g.suspects != 0 || g.hanging != 0 {
			t.Errorf("at the end %d are inside, %d suspect, %d hang", g.inside, g.suspects, g.hanging)
		}
	})
}

// TestGateGivenUp: a place that is offered to somebody who is just giving up is
// passed on.
func TestGateGivenUp(t *testing.T) {
	var g Gate
	for range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range gateSlots {
			p, err := g.enter(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			all.Go(p.leave)
		}
		for range 2 {
			all.Go(func() {
				if p, err := g.enter(ctx, false); err == nil {
					p.leave()
				}
			})
		}
		all.Go(cancel)
		all.Wait()
		if g.inside != 0 || g.waiting.Len() != 0 {
			t.Fatalf("at the end %d are inside, %d wait", g.inside, g.waiting.Len())
		}
	}
}
