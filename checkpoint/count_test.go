package checkpoint

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLedgerWithCounts(t *testing.T) {
	// A row is what happens, one call at a time in seconds.
	type step func(t *testing.T, l *Ledger)
	counted := func(s int, total uint64, odd ...bool) step {
		return func(t *testing.T, l *Ledger) {
			if got, want := l.Counted(at(1000*s), total), len(odd) > 0; got != want {
				t.Errorf("Counted %d at %d s: got %v, want %v", total, s, got, want)
			}
		}
	}
	batch := func(s, events int, marks ...Mark) step {
		return func(t *testing.T, l *Ledger) {
			l.HandOver(at(1000*s), marks, events)
			l.Release(at(1000 * s))
		}
	}
	dropped := func(s, events int, marks ...Mark) step {
		return func(t *testing.T, l *Ledger) {
			l.HandOver(at(1000*s), marks, events)
			if l.Release(at(1000 * (s + 1))) {
				t.Errorf("Release a second after %d s: got true", s)
			}
		}
	}
	lastTry := func(s, events int, marks ...Mark) step { // taken, but seen as dropped
		return func(t *testing.T, l *Ledger) {
			l.HandOver(at(1000*s), marks, events)
			if l.Release(at(1000*s + 900)) {
				t.Errorf("Release at %d.9 s: got true", s)
			}
		}
	}
	singles := func(n int) step { // in as many batches, a second each
		return func(t *testing.T, l *Ledger) {
			for i := range n {
				batch(i, 1, mark(auth, i+1))(t, l)
			}
		}
	}
	rising := func(every, n int) step { // by one each
		return func(t *testing.T, l *Ledger) {
			for i := range n {
				counted(every*(i+1), uint64(i+1))(t, l)
			}
		}
	}
	pass := func(s int, marks ...Mark) step { return func(t *testing.T, l *Ledger) { l.Pass(at(1000*s), marks) } }
	due := func(s int, want ...Mark) step {
		return func(t *testing.T, l *Ledger) {
			if diff := cmp.Diff(want, l.Due(at(1000*s))); diff != "" {
				t.Errorf("Due at %d s (-want +got):\n%s", s, diff)
			}
		}
	}
	exit := func(s int, want ...Mark) step {
		return func(t *testing.T, l *Ledger) {
			if diff := cmp.Diff(want, l.Exit(at(1000*s))); diff != "" {
				t.Errorf("Exit at %d s (-want +got):\n%s", s, diff)
			}
		}
	}
	next := func(s, want int) step {
		return func(t *testing.T, l *Ledger) {
			got, ok := l.Next(at(1000 * s))
			if wait := time.Duration(want) * time.Second; ok != (want >= 0) || ok && got != wait {
				t.Errorf("Next at %d s: got %v, %v, want %d s", s, got, ok, want)
			}
		}
	}

	tests := []struct {
		name  string
		steps []step
	}{
		{"taken when the next one is counted", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 10), batch(1, 5, mark(auth, 2)),
			counted(2, 15), due(2, mark(auth, 1))}},
		{"the newest may hang in a filter, until patience is over", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 10), next(1, 120), due(120), due(121, mark(auth, 1))}},
		{"a main thread that hangs takes nothing, for hours", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 10), batch(1, 5, mark(auth, 2)), batch(2, 5, mark(auth, 3)),
			counted(3, 10), due(3), due(120), due(121, mark(auth, 1)), next(121, -1), counted(9000, 10), due(9000), exit(9000),
			counted(9001, 20), due(9001, mark(auth, 2)), due(9120), due(9121, mark(auth, 3))}},
		{"and what comes meanwhile waits too, idle or not", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 10), batch(1, 5, mark(auth, 2)), pass(2, idle(tele, 1)),
			due(120), due(4000, mark(auth, 1)), counted(4001, 15), due(4120), due(4121, mark(auth, 2), idle(tele, 1))}},
		{"nothing was counted ever: perhaps this host does not", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(60, 0), due(3599), next(3599, 1), due(3600, mark(auth, 1))}},
		{"what another life counted", []step{
			counted(0, 70), batch(0, 10, mark(auth, 1)), counted(1, 80), batch(1, 5, mark(auth, 2)), counted(2, 80), exit(2, mark(auth, 1))}},
		{"exit: what has left the ring, since a main thread that ends does not hang", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 10), exit(1, mark(auth, 1))}},
		{"exit: what is on the ring comes again", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 10), batch(1, 5, mark(auth, 2)), counted(9, 10), exit(9, mark(auth, 1))}},
		{"a batch that was put back is not waited for", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 10), dropped(1, 5, mark(auth, 2)), counted(3, 10),
			batch(3, 2, mark(auth, 2)), counted(4, 12), due(4, mark(auth, 1)), exit(4, mark(auth, 2))}},
		{"a batch that the ring took at the last try is counted twice", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 10), lastTry(1, 5, mark(auth, 2)), counted(2, 10), batch(2, 5, mark(auth, 2)),
			batch(3, 1, mark(auth, 3)), batch(4, 1, mark(auth, 4)), counted(5, 15), due(9, mark(auth, 1)), exit(9),
			counted(10, 20), due(10), counted(11, 21), due(11, mark(auth, 2)), exit(11, mark(auth, 3))}},
		{"part of a batch: a processor drops events", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 4, true), due(1), due(2, mark(auth, 1)),
			batch(2, 5, mark(auth, 2)), counted(3, 4), due(60_000), counted(60_001, 5), due(60_001, mark(auth, 2))}},
		{"more than was handed over: a processor splits events", []step{
			counted(0, 0), batch(0, 10, mark(auth, 1)), counted(1, 20, true), batch(1, 5, mark(auth, 2)), due(2, mark(auth, 1)),
			counted(3, 20), exit(3), counted(4, 30), exit(4, mark(auth, 2))}},
		{"a batch is missing before another that is too small to hide it", []step{
			counted(0, 0), batch(0, 5, mark(auth, 1)), counted(1, 0), batch(1, 1, mark(auth, 2)), counted(2, 1, true),
			due(2, mark(auth, 1)), due(3, mark(auth, 2))}},
		{"the count stays behind by so many single events: found out in an hour", []step{
			counted(0, 0), singles(40), rising(120, 29), due(3500, mark(auth, 28)), counted(3600, 30, true), due(3600, mark(auth, 40))}},
		{"a main thread that goes on after hours, a batch at a time", []step{
			counted(0, 0), singles(40), counted(1, 1), counted(20_001, 2), counted(20_002, 3), counted(20_003, 4), counted(20_004, 5),
			due(20_004, mark(auth, 4)), exit(20_004, mark(auth, 5))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLedger(settle)
			for _, s := range tt.steps {
				s(t, l)
			}
		})
	}
}

// TestLedgerAgainstHangs: a Fluent Bit whose main thread hangs at random, on the way to the ring, in a filter, for long or
// short, goes on slowly, and is killed at a random moment has always taken what is due; and what it takes is due in the end.
func TestLedgerAgainstHangs(t *testing.T) {
	const second = 4 // in quarters, each of which the ring is emptied once
	for _, tt := range []struct {
		name             string
		seeds            int64
		lasts            int
		rare, hang, slow int // a hang begins so rarely, and takes so long at most, as does a batch
	}{
		{"for minutes", 200, 3600 * second, 200, 600 * second, 0},
		{"for hours, and slow", 20, 6 * 3600 * second, 4000, 3 * 3600 * second, 2 * second},
	} {
		for seed := range tt.seeds {
			t.Run(fmt.Sprint(tt.name, " ", seed), func(t *testing.T) {
				r := rand.New(rand.NewSource(seed))
				l := NewLedger(settle)
				var ring []int // events of each batch
				total, inFilter, through := uint64(0), 0, 0
				wait, slow := 0, 0
				saved, handed := 0, 0
				for q := range tt.lasts + 3600*second {
					now, ending := at(250*q), q >= tt.lasts
					if q%second == 0 {
						if l.Counted(now, total) {
							t.Fatalf("at %v: a count that is right is found odd", now.Sub(start))
						}
						if r.Intn(3) > 0 && !ending && len(ring) < 1024 {
							handed++
							n := 1 + r.Intn(4)
							ring = append(ring, n)
							l.HandOver(now, []Mark{mark(auth, handed)}, n)
							l.Release(now)
						}
					}
					for _, m := range l.Due(now) {
						saved = m.Cursor.(int)
					}
					if saved > through {
						t.Fatalf("at %v: batch %d is saved, but only %d came through (%d on the ring, %d in a filter)",
							now.Sub(start), saved, through, len(ring), inFilter)
					}
					if wait > 0 && !ending {
						wait--
						continue
					}
					through += inFilter
					inFilter, wait = 0, 0
					// One that hangs from the start looks like a host that does not count.
					if r.Intn(tt.rare) == 0 && total > 0 {
						wait, slow = r.Intn(tt.hang), r.Intn(tt.slow+1)
					}
					for len(ring) > 0 && inFilter == 0 && (wait == 0 || ending) {
						total += uint64(ring[0])
						ring = ring[1:]
						switch {
						case ending:
							through++
						case r.Intn(100) == 0 && total > 10:
							inFilter, wait = 1, r.Intn(int((patience*settle).Seconds()-2)*second)
						case slow > 0:
							inFilter, wait = 1, slow
						default:
							through++
						}
					}
				}
				if saved != handed {
					t.Errorf("in the end batch %d of %d is saved", saved, handed)
				}
			})
		}
	}
}
