package checkpoint

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const settle = 2 * time.Second

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	auth  = Stream{Host: "api-1.example.com", Log: "authentication"}
	tele  = Stream{Host: "api-1.example.com", Log: "telephony"}
)

// at returns the time ms milliseconds after start.
func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func mark(s Stream, cursor int) Mark { return Mark{Stream: s, Cursor: cursor} }
func idle(s Stream, cursor int) Mark { return Mark{Stream: s, Cursor: cursor, Idle: true} }

func TestLedger(t *testing.T) {
	five := int(idleEvery.Milliseconds())
	// A step is one call at a time in milliseconds; those that return something say what.
	type step func(t *testing.T, l *Ledger)
	handOver := func(ms int, marks ...Mark) step {
		return func(t *testing.T, l *Ledger) { l.HandOver(at(ms), marks, 0) }
	}
	release := func(ms int, want bool) step {
		return func(t *testing.T, l *Ledger) {
			if got := l.Release(at(ms)); got != want {
				t.Errorf("Release at %d: got %v, want %v", ms, got, want)
			}
		}
	}
	taken := func(ms int) step { return func(t *testing.T, l *Ledger) { l.Taken(at(ms)) } }
	pass := func(ms int, marks ...Mark) step { return func(t *testing.T, l *Ledger) { l.Pass(at(ms), marks) } }
	pause := func(ms int) step { return func(t *testing.T, l *Ledger) { l.Pause(at(ms)) } }
	resume := func(ms int) step { return func(t *testing.T, l *Ledger) { l.Resume(at(ms)) } }
	failed := func(ms int, m Mark) step { return func(t *testing.T, l *Ledger) { l.Failed(at(ms), m) } }
	due := func(ms int, want ...Mark) step {
		return func(t *testing.T, l *Ledger) {
			if diff := cmp.Diff(want, l.Due(at(ms))); diff != "" {
				t.Errorf("Due at %d (-want +got):\n%s", ms, diff)
			}
		}
	}
	exit := func(ms int, want ...Mark) step {
		return func(t *testing.T, l *Ledger) {
			if diff := cmp.Diff(want, l.Exit(at(ms))); diff != "" {
				t.Errorf("Exit at %d (-want +got):\n%s", ms, diff)
			}
		}
	}
	next := func(ms, want int) step {
		return func(t *testing.T, l *Ledger) {
			if got, ok := l.Next(at(ms)); !ok || got != time.Duration(want)*time.Millisecond {
				t.Errorf("Next at %d: got %v, %v, want %d ms", ms, got, ok, want)
			}
		}
	}
	never := func(ms int) step {
		return func(t *testing.T, l *Ledger) {
			if got, ok := l.Next(at(ms)); ok {
				t.Errorf("Next at %d: got %v, want false", ms, got)
			}
		}
	}

	tests := []struct {
		name  string
		steps []step
	}{
		{"Fluent Bit says that it took a slow one", []step{
			taken(0), handOver(100, mark(auth, 1)), pass(150, mark(tele, 1)), taken(1400), due(3399), due(3400, mark(auth, 1), mark(tele, 1)), never(3400),
		}},
		{"nothing yet", []step{never(0), due(0), release(0, true), exit(0)}},
		{"rests from its release", []step{
			handOver(0, mark(auth, 1)), never(100), release(300, true), next(300, 2000), due(2299), next(2299, 1),
			due(2300, mark(auth, 1)), due(9000), never(9000)}},
		{"not released, never due", []step{handOver(0, mark(auth, 1)), due(60_000), exit(60_000)}},
		{"the newest of each stream", []step{
			handOver(0, mark(tele, 1), mark(auth, 1), mark(auth, 2)), release(0, true),
			handOver(500, mark(auth, 3)), release(500, true),
			due(2500, mark(auth, 3), mark(tele, 1)), due(2500)}},
		{"a younger batch is not drawn along", []step{
			handOver(0, mark(auth, 1)), release(0, true), handOver(1000, mark(auth, 2)), release(1000, true),
			due(2000, mark(auth, 1)), next(2000, 1000), due(3000, mark(auth, 2))}},
		{"the first parts of a page have no mark", []step{
			handOver(0), release(0, true), never(0), handOver(1000, mark(auth, 1)), release(1100, true), due(3099),
			due(3100, mark(auth, 1))}},

		{"dropped: cleanup came after 0.9 s", []step{
			handOver(0, mark(auth, 1)), release(900, false), due(60_000), exit(60_000), never(60_000)}},
		{"taken: cleanup came just before that", []step{
			handOver(0, mark(auth, 1)), release(899, true), due(2899, mark(auth, 1))}},
		{"dropped, and handed over again", []step{
			handOver(0, mark(auth, 1)), release(1000, false), handOver(1100, mark(auth, 1)), release(1100, true),
			due(3000), due(3100, mark(auth, 1))}},
		{"dropped with all that was passed behind it, of any stream", []step{
			handOver(0), pass(10, idle(auth, 2)), pass(20, idle(tele, 2)), release(900, false), due(60_000), exit(60_000)}},
		{"dropped without what was passed before it", []step{
			pass(0, idle(auth, 1)), handOver(100, mark(auth, 2)), release(1000, false), due(2000, idle(auth, 1)), due(60_000)}},
		{"dropped beside a batch that was taken", []step{
			handOver(0, mark(auth, 1)), release(0, true), handOver(100, mark(auth, 2)), release(1200, false),
			due(2000, mark(auth, 1)), exit(60_000)}},
		{"passed behind a batch: rests with it", []step{
			handOver(0, mark(auth, 1)), pass(0, idle(auth, 2), idle(tele, 2)), due(700), exit(700),
			release(800, true), next(800, 2000), due(2799), due(2800, mark(auth, 2), idle(tele, 2))}},

		{"paused while it rests", []step{
			handOver(0, mark(auth, 1)), release(0, true), pause(1500), never(1500), due(60_000), resume(60_000),
			next(60_000, 500), due(60_499), due(60_500, mark(auth, 1))}},
		{"paused twice is paused once", []step{
			handOver(0, mark(auth, 1)), release(0, true), pause(500), pause(700), resume(1000), resume(1200),
			due(2499), due(2500, mark(auth, 1))}},
		{"released while paused", []step{
			handOver(0, mark(auth, 1)), pause(100), release(200, true), resume(5000), due(6999), due(7000, mark(auth, 1))}},
		{"what has rested is due while paused", []step{
			handOver(0, mark(auth, 1)), release(0, true), pause(2000), next(2000, 0), due(3000, mark(auth, 1))}},

		{"idle: the first at once, then every 5 minutes", []step{
			pass(0, idle(auth, 1)), next(0, 2000), due(1999), due(2000, idle(auth, 1)),
			pass(3000, idle(auth, 2)), due(5000), next(5000, five-3000), pass(60_000, idle(auth, 3)),
			due(2000 + five - 1), due(2000+five, idle(auth, 3))}},
		{"idle: 5 minutes since the last one of any kind", []step{
			handOver(0, mark(auth, 1)), release(0, true), due(2000, mark(auth, 1)),
			pass(3000, idle(auth, 2)), due(2000 + five - 1), due(2000+five, idle(auth, 2))}},
		{"idle: of each stream alone", []step{
			pass(0, idle(auth, 1)), due(2000, idle(auth, 1)), pass(2000, idle(tele, 1), idle(auth, 2)), due(4000, idle(tele, 1))}},
		{"idle behind bytes is not idle", []step{
			pass(0, idle(auth, 1)), due(2000, idle(auth, 1)),
			handOver(3000, mark(auth, 2)), release(3000, true), pass(3500, idle(auth, 3)), due(5500, mark(auth, 3))}},
		{"bytes behind idle are not idle", []step{
			pass(0, idle(auth, 1)), due(2000, idle(auth, 1)), pass(3000, idle(auth, 2)), due(5000),
			handOver(6000, mark(auth, 3)), release(6000, true), due(8000, mark(auth, 3)), due(2000 + five)}},

		{"a failed save is due again", []step{
			handOver(0, mark(auth, 1)), release(0, true), due(2000, mark(auth, 1)), failed(2100, mark(auth, 1)), next(2100, 0),
			due(2100, mark(auth, 1))}},
		{"a failed save gives way to a newer mark", []step{
			handOver(0, mark(auth, 1)), release(0, true), handOver(1000, mark(auth, 2)), release(1000, true),
			due(2000, mark(auth, 1)), next(3000, 0), failed(3000, mark(auth, 1)), due(3000, mark(auth, 2)), due(9000)}},
		{"a failed save is replaced by a newer mark", []step{
			handOver(0, mark(auth, 1)), release(0, true), handOver(1000, mark(auth, 2)), release(1000, true),
			due(2000, mark(auth, 1)), failed(2500, mark(auth, 1)), due(3000, mark(auth, 2)), due(9000)}},
		{"a failed save does not make an idle mark wait", []step{
			handOver(0, mark(auth, 1)), release(0, true), due(2000, mark(auth, 1)), pass(2000, idle(auth, 2)), due(4000),
			failed(4000, mark(auth, 1)), due(4000, mark(auth, 2))}},

		{"exit: what was released 0.4 s before", []step{
			handOver(0, mark(auth, 1)), release(0, true), handOver(1000, mark(auth, 2)), release(1001, true),
			exit(1400, mark(auth, 1))}},
		{"exit: to the millisecond", []step{handOver(0, mark(auth, 1)), release(0, true), exit(400, mark(auth, 1))}},
		{"exit: idle marks too, and those that were passed", []step{
			pass(0, idle(auth, 1)), due(2000, idle(auth, 1)), pass(3000, idle(auth, 2), mark(tele, 1)),
			exit(3400, idle(auth, 2), mark(tele, 1))}},
		{"exit: a batch not released holds back what is behind it", []step{
			handOver(0, mark(auth, 1)), release(0, true), handOver(1000, mark(auth, 2)), pass(1001, idle(tele, 1)),
			exit(9000, mark(auth, 1))}},
		{"exit: a failed save", []step{
			handOver(0, mark(auth, 1)), release(0, true), due(2000, mark(auth, 1)), failed(2000, mark(auth, 1)),
			exit(2000, mark(auth, 1))}},
		{"exit: paused too soon", []step{handOver(0, mark(auth, 1)), release(0, true), pause(399), exit(60_000)}},
		{"exit: paused", []step{
			handOver(0, mark(auth, 1)), release(0, true), handOver(300, mark(auth, 2)), release(300, true), pause(699),
			exit(60_000, mark(auth, 1))}},

		{"a clock read before another's turn", []step{
			handOver(1000, mark(auth, 1)), release(999, true), pass(500), due(2999), due(3000, mark(auth, 1))}},
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

func TestLedgerRefusesSecondBatch(t *testing.T) {
	l := NewLedger(settle)
	l.HandOver(at(0), nil, 0)
	defer func() {
		if recover() == nil {
			t.Error("HandOver with a batch outstanding: want a panic")
		}
	}()
	l.HandOver(at(1), nil, 0)
}

// model is a ledger that keeps every mark until it is due, and every pause for ever.
type model struct {
	marks   []*known // oldest first
	pauses  [][2]time.Time
	paused  bool
	out     bool
	handed  time.Time
	lastDue map[Stream]time.Time
}

type known struct {
	Mark
	rests  time.Time // since when; zero while the batch that it belongs to, or is behind, is outstanding
	rested bool
}

func (m *model) add(now time.Time, marks []Mark) {
	for _, mk := range marks {
		k := &known{Mark: mk, rests: now}
		if m.out {
			k.rests = time.Time{}
		}
		m.marks = append(m.marks, k)
	}
}

func (m *model) handOver(now time.Time, marks []Mark) {
	m.out, m.handed = true, now
	m.add(now, marks)
}

func (m *model) release(now time.Time) bool {
	dropped := m.out && now.Sub(m.handed) >= 900*time.Millisecond
	m.out = false
	m.marks = slices.DeleteFunc(m.marks, func(k *known) bool { return dropped && k.rests.IsZero() })
	for _, k := range m.marks {
		if k.rests.IsZero() {
			k.rests = now
		}
	}
	return !dropped
}

func (m *model) pause(now time.Time) {
	if !m.paused {
		m.pauses = append(m.pauses, [2]time.Time{now, now.Add(time.Hour * 1e5)})
	}
	m.paused = true
}

func (m *model) resume(now time.Time) {
	if m.paused {
		m.pauses[len(m.pauses)-1][1] = now
	}
	m.paused = false
}

// unpaused returns how much of the time between two times lay outside of all pauses.
func (m *model) unpaused(from, to time.Time) time.Duration {
	d := to.Sub(from)
	for _, p := range m.pauses {
		begin, end := p[0], p[1]
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		d -= max(0, end.Sub(begin))
	}
	return d
}

// take removes the marks that are ready, of streams whose newest is wanted, and returns the newest ones by stream.
func (m *model) take(now time.Time, ready func(*known) bool, wanted func(Mark) bool) map[Stream]Mark {
	newest := map[Stream]Mark{}
	for _, k := range m.marks {
		if k.rested = k.rested || !k.rests.IsZero() && ready(k); k.rested {
			old, ok := newest[k.Stream]
			newest[k.Stream] = Mark{k.Stream, k.Cursor, k.Idle && (!ok || old.Idle)}
		}
	}
	maps.DeleteFunc(newest, func(_ Stream, mk Mark) bool { return !wanted(mk) })
	m.marks = slices.DeleteFunc(m.marks, func(k *known) bool {
		_, taken := newest[k.Stream]
		return taken && k.rested
	})
	for s := range newest {
		m.lastDue[s] = now
	}
	return newest
}

func (m *model) due(now time.Time) map[Stream]Mark {
	return m.take(now, func(k *known) bool { return m.unpaused(k.rests, now) >= settle }, func(mk Mark) bool {
		last, ok := m.lastDue[mk.Stream]
		return !mk.Idle || !ok || now.Sub(last) >= 5*time.Minute
	})
}

func (m *model) exit(now time.Time) map[Stream]Mark {
	return m.take(now, func(k *known) bool { return m.unpaused(k.rests, now) >= 400*time.Millisecond }, func(Mark) bool { return true })
}

func (m *model) failed(mk Mark) {
	m.marks = slices.Insert(m.marks, 0, &known{Mark: mk, rests: start, rested: true})
	delete(m.lastDue, mk.Stream)
}

func byStream(marks []Mark) map[Stream]Mark {
	set := map[Stream]Mark{}
	for _, m := range marks {
		set[m.Stream] = m
	}
	return set
}

// TestLedgerAgainstModel: whatever the order of calls, the ledger returns exactly what the model does, and is silent for
// as long as Next says.
func TestLedgerAgainstModel(t *testing.T) {
	streams := []Stream{auth, tele, {Host: "api-1.example.com", Account: "DAXXXXXXXXXXXXXXXXXX", Log: "activity"}}
	for seed := range int64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewSource(seed))
			l, m := NewLedger(settle), &model{lastDue: map[Stream]time.Time{}}
			now, cursor := start, 0
			silent := start // Due has nothing before this time
			batch := func() (marks []Mark) {
				for range r.Intn(4) {
					cursor++
					marks = append(marks, Mark{streams[r.Intn(len(streams))], cursor, r.Intn(3) == 0})
				}
				return marks
			}
			for step := range 3000 {
				elapsed := time.Duration(r.Intn(400)) * time.Millisecond
				if r.Intn(100) == 0 {
					elapsed = time.Duration(r.Intn(400)) * time.Second
				}
				now = now.Add(elapsed)
				var got, want any
				op := r.Intn(12)
				switch {
				case op < 3 && !m.out:
					b := batch()
					l.HandOver(now, b, 0)
					m.handOver(now, b)
				case op < 5:
					got, want = l.Release(now), m.release(now)
				case op == 5:
					b := batch()
					l.Pass(now, b)
					m.add(now, b)
				case op == 6:
					l.Pause(now)
					m.pause(now)
				case op == 7 || op == 8:
					l.Resume(now)
					m.resume(now)
				case op == 9 && r.Intn(20) == 0:
					got, want = byStream(l.Exit(now)), m.exit(now)
				default:
					due := l.Due(now)
					got, want = byStream(due), m.due(now)
					if len(due) > 0 && now.Before(silent) {
						t.Fatalf("step %d: due %v before Next said so", step, silent.Sub(now))
					}
					if len(due) > 0 && r.Intn(3) == 0 {
						l.Failed(now, due[0])
						m.failed(due[0])
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("step %d (-model +ledger):\n%s", step, diff)
				}
				if l.Len() > maxLine/2+len(streams) {
					t.Fatalf("step %d: %d entries held", step, l.Len())
				}
				silent = now.Add(1000 * time.Hour)
				if next, ok := l.Next(now); ok {
					silent = now.Add(next)
				}
			}
		})
	}
}

// TestLedgerPausedEverySoOften: an output that stops Fluent Bit for one second in every four, for six hours.
func TestLedgerPausedEverySoOften(t *testing.T) {
	l := NewLedger(settle)
	saved, most := 0, 0
	for second := range 6 * 3600 {
		now := at(1000 * second)
		switch second % 4 {
		case 0:
			l.Pause(now)
			l.Pass(now, []Mark{idle(tele, second)})
		default:
			l.Resume(now)
			l.HandOver(now, []Mark{mark(auth, second)}, 0)
			l.Release(now.Add(time.Millisecond))
		}
		for _, m := range l.Due(now) {
			if m.Stream != auth {
				continue
			}
			if saved = m.Cursor.(int); second-saved > 4 {
				t.Fatalf("second %d: cursor %d is %d s old, want at most settle, the pause and one second", second, saved, second-saved)
			}
		}
		most = max(most, l.Len())
	}
	if most > 6 {
		t.Errorf("held up to %d entries, want at most 6", most)
	}
	now := at(1000 * 6 * 3600)
	l.Resume(now)
	last := l.Due(now.Add(idleEvery))
	want := []Mark{mark(auth, 6*3600-1), idle(tele, 6*3600-4)}
	if diff := cmp.Diff(want, last); diff != "" || l.Len() != 0 {
		t.Errorf("in the end %d entries are held (-want +got):\n%s", l.Len(), diff)
	}
}

// TestLedgerBounded: nothing that goes on for hours makes it grow.
func TestLedgerBounded(t *testing.T) {
	tests := []struct {
		name   string
		most   int
		before func(l *Ledger)
		second func(l *Ledger, now time.Time, n int)
	}{
		{"paused, idle pages come in", 3, func(l *Ledger) { l.Pause(start) },
			func(l *Ledger, now time.Time, n int) { l.Pass(now, []Mark{idle(auth, n)}) }},
		{"a batch is never released", 1, func(l *Ledger) { l.HandOver(start, nil, 0) },
			func(l *Ledger, now time.Time, n int) { l.Pass(now, []Mark{idle(auth, n), idle(tele, n)}) }},
		{"nothing can be saved", 5, func(*Ledger) {},
			func(l *Ledger, now time.Time, n int) {
				l.HandOver(now, []Mark{mark(auth, n), mark(tele, n)}, 0)
				l.Release(now)
				for _, m := range l.Due(now) {
					l.Failed(now, m)
				}
			}},
		{"nobody asks what is due", 5, func(*Ledger) {},
			func(l *Ledger, now time.Time, n int) {
				l.HandOver(now, []Mark{mark(auth, n), mark(tele, n)}, 0)
				l.Release(now)
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLedger(settle)
			tt.before(l)
			for n := range 3 * 3600 {
				if tt.second(l, at(1000*n), n); l.Len() > tt.most {
					t.Fatalf("second %d: %d entries held, want at most %d", n, l.Len(), tt.most)
				}
			}
		})
	}
}

// TestLedgerFullLine: a line that is full grows no longer, and delays marks by at most settle.
func TestLedgerFullLine(t *testing.T) {
	l := NewLedger(settle)
	for n := range 20_000 {
		now := at(10 * n)
		l.Pass(now, []Mark{mark(auth, 10*n)})
		for _, m := range l.Due(now) {
			age := time.Duration(10*n-m.Cursor.(int)) * time.Millisecond
			if age < settle || age > 2*settle {
				t.Fatalf("at %d ms the mark that is due is %v old, want %v to %v", 10*n, age, settle, 2*settle)
			}
		}
		if l.Len() > maxLine {
			t.Fatalf("at %d ms %d entries are held, want at most %d", 10*n, l.Len(), maxLine)
		}
	}
	if got := l.Exit(at(10*20_000 + 400)); len(got) != 1 || got[0].Cursor != 10*19_999 {
		t.Errorf("Exit: got %v, want the newest mark", got)
	}
}
