//go:build cgo

package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"sync"
	"testing"
	"time"
)

// book keeps what Duo filed beside what the host delivered. An event is known by
// its content, which holds for logs without ids too: of n events of equal
// content, n must arrive, each under an event_id of its own.
//
// An event may come twice for two reasons only, and any other is beyond the
// promise: the checkpoint that a life of the host began with may be older than
// the event's delivery, and so read it again; or Fluent Bit itself sends again
// what it had no time to note as sent, which is younger still.
type book struct {
	mu     sync.Mutex
	events map[uint64]*event
	order  []*event // as they were filed
	done   int      // all before that have arrived

	lives   []life // of the host
	arrived map[string][]time.Time
	records int // delivered
	twice   int // of them, beyond the first
	beyond  []string
	foreign []string // what Duo never had
}

// event is an event, or several of equal content.
type event struct {
	log   string
	filed time.Time       // the last of them
	shown time.Time       // when Duo shows it, at the latest
	want  int             // so many
	came  map[string]came // by event_id
}

// came is when, and in which of the lives, an event was last seen to arrive.
type came struct {
	at   time.Time
	life int
}

// life is one of the host, from a start or a reload on.
type life struct {
	began    time.Time
	reloaded bool                 // what the instances before took may arrive in it
	covered  map[string]time.Time // by log: what arrived before, its checkpoint covers
	suspects []string             // what came twice in it alone
}

// lateLives is how many lives later an event may arrive: Fluent Bit delivers
// from its storage what another life of it took.
const lateLives = 3

func newBook() *book { return &book{events: map[uint64]*event{}, arrived: map[string][]time.Time{}} }

var hashSeed = maphash.MakeSeed()

// contentHash is of the content without what the plugin adds.
func contentHash(raw []byte) (uint64, error) {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return 0, err
	}
	for _, added := range []string{"eventtype", "host", "event_id"} {
		delete(fields, added)
	}
	sorted, err := json.Marshal(fields)
	return maphash.Bytes(hashSeed, sorted), err
}

// file notes an event that Duo shows from a time on.
func (b *book) file(log string, raw []byte, now, shown time.Time) error {
	id, err := contentHash(raw)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.events[id]
	if e == nil {
		e = &event{log: log, came: map[string]came{}}
		b.events[id] = e
		b.order = append(b.order, e)
	}
	e.want++
	e.filed, e.shown = now, shown
	return nil
}

// begin notes that the host starts, or is reloaded, with checkpoints that cover
// what arrived until some time, by log.
func (b *book) begin(now time.Time, covered map[string]time.Time, reloaded bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lives = append(b.lives, life{began: now, covered: covered, reloaded: reloaded})
	clear(b.arrived)
}

// covered is the least that the checkpoints covered at any start since an event
// arrived. A life that reads again from an older checkpoint may be over, and have
// saved its own, before it gets to the event.
func (b *book) covered(log string, last came, late bool) time.Time {
	first := min(last.life+1, len(b.lives)-1)
	if late {
		first = max(0, first-lateLives)
	}
	least := b.lives[first].covered[log]
	for _, l := range b.lives[first:] {
		if at := l.covered[log]; at.Before(least) {
			least = at
		}
	}
	return least
}

// arrive notes a delivered record. late says that a life before may have taken it.
func (b *book) arrive(log, eventID string, raw []byte, now time.Time, late bool) error {
	id, err := contentHash(raw)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records++
	e := b.events[id]
	if e == nil || e.log != log {
		b.foreign = append(b.foreign, fmt.Sprintf("%s %s: not Duo's: %.300s", log, eventID, raw))
		return nil
	}
	n := len(b.lives) - 1
	l := &b.lives[n]
	if e.filed.After(l.began) {
		b.arrived[log] = append(b.arrived[log], now)
	}
	last, again := e.came[eventID]
	e.came[eventID] = came{now, n}
	if !again {
		if len(e.came) > e.want {
			b.beyond = append(b.beyond, fmt.Sprintf("%s %s has another event_id than before", log, eventID))
		}
		return nil
	}
	b.twice++
	ago := now.Sub(last.at)
	covered := b.covered(log, last, late)
	switch {
	case e.filed.After(l.began), last.life == n && !l.reloaded && !late:
		l.suspects = append(l.suspects, fmt.Sprintf("%s %s came again after %v in one life", log, eventID, ago))
	case last.at.Before(covered):
		b.beyond = append(b.beyond, fmt.Sprintf("%s %s came again after %v; it was covered for %v", log, eventID, ago, covered.Sub(last.at)))
	}
	return nil
}

// end closes a life. slow says that the host took too long over a batch, which
// is a reason for it to come twice.
func (b *book) end(slow bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lives[len(b.lives)-1]
	if !slow {
		b.beyond = append(b.beyond, l.suspects...)
	}
	l.suspects = nil
}

// missing returns how many events have not arrived that Duo showed before.
func (b *book) missing(before time.Time) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.done < len(b.order) && len(b.order[b.done].came) >= b.order[b.done].want {
		b.done++
	}
	for _, e := range b.order[b.done:] {
		if e.shown.Before(before) {
			n += max(0, e.want-len(e.came))
		}
	}
	return n
}

// lost names a few of the missing.
func (b *book) lost(most int) (lost []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.order {
		if n := e.want - len(e.came); n > 0 && len(lost) < most {
			lost = append(lost, fmt.Sprintf("%d of %s filed at %s, shown at %s", n, e.log, e.filed.Format(clockTime), e.shown.Format(clockTime)))
		}
	}
	return lost
}

// lastArrival returns the last of this life's events of a log that arrived
// before a time; false if there is none.
func (b *book) lastArrival(log string, before time.Time) (last time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range b.arrived[log] {
		if at.Before(before) {
			last, ok = at, true
		}
	}
	return last, ok
}

func (b *book) filed() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.order {
		n += e.want
	}
	return n
}

const clockTime = "15:04:05.000"

// The book sees what is missing, what came twice without a reason, and what is
// not Duo's.
func TestTortureBook(t *testing.T) {
	type came struct {
		second  int
		id, raw string
	}
	const a, b = `{"n":1,"o":{"x":1,"y":2}}`, `{"n":2}`
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	for _, tc := range []struct {
		name                            string
		filed                           []string // each at its index in seconds
		came                            []came   // by the life of second 0 until the one of second 10
		again                           []came   // by the life of second 10, whose checkpoint covers until second 5
		late, slow, reloaded            bool
		missing, twice, beyond, foreign int
	}{
		{name: "all", filed: []string{a, b}, came: []came{{1, "a", a}, {2, "b", b}}},
		{name: "with what the plugin adds, in another order", filed: []string{a}, came: []came{{1, "a", `{"o":{"y":2,"x":1},"n":1,"eventtype":"l","host":"h","event_id":"a"}`}}},
		{name: "missing", filed: []string{a, b}, came: []came{{1, "a", a}}, missing: 1},
		{name: "changed", filed: []string{a}, came: []came{{1, "a", `{"n":1}`}}, missing: 1, foreign: 1},
		{name: "equal, one missing", filed: []string{a, a}, came: []came{{1, "a", a}}, missing: 1},
		{name: "equal", filed: []string{a, a}, came: []came{{1, "a", a}, {1, "a-2", a}}},
		{name: "under two ids", filed: []string{a}, came: []came{{1, "a", a}}, again: []came{{11, "c", a}}, beyond: 1},
		{name: "again, not covered", filed: []string{a}, came: []came{{6, "a", a}}, again: []came{{11, "a", a}}, twice: 1},
		{name: "again, covered", filed: []string{a}, came: []came{{4, "a", a}}, again: []came{{11, "a", a}}, twice: 1, beyond: 1},
		{name: "again, covered, but not by the life before", filed: []string{a}, came: []came{{4, "a", a}}, again: []came{{11, "a", a}}, late: true, twice: 1},
		{name: "again in the second life", filed: []string{a}, again: []came{{11, "a", a}, {12, "a", a}}, twice: 1, beyond: 1},
		{name: "again in the second life, by a reload", filed: []string{a}, again: []came{{11, "a", a}, {12, "a", a}}, reloaded: true, twice: 1},
		{name: "again in one life", filed: []string{"", a}, came: []came{{2, "a", a}, {3, "a", a}}, twice: 1, beyond: 1},
		{name: "again in one life, which was slow", filed: []string{"", a}, came: []came{{2, "a", a}, {3, "a", a}}, slow: true, twice: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := newBook()
			for i, raw := range tc.filed {
				if raw != "" {
					check(t, k.file("l", []byte(raw), at(i), at(i)))
				}
			}
			k.begin(at(0), map[string]time.Time{"l": at(-10)}, false)
			for _, c := range tc.came {
				check(t, k.arrive("l", c.id, []byte(c.raw), at(c.second), tc.late))
			}
			k.end(tc.slow)
			k.begin(at(10), map[string]time.Time{"l": at(5)}, tc.reloaded)
			for _, c := range tc.again {
				check(t, k.arrive("l", c.id, []byte(c.raw), at(c.second), tc.late))
			}
			k.end(tc.slow)
			got := [4]int{k.missing(at(20)), k.twice, len(k.beyond), len(k.foreign)}
			if want := [4]int{tc.missing, tc.twice, tc.beyond, tc.foreign}; got != want {
				t.Errorf("missing, twice, beyond, foreign: got %v, want %v", got, want)
			}
			if n := k.missing(at(0)); n != 0 {
				t.Errorf("%d are missing that were not shown yet", n)
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
