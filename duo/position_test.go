package duo

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func trustMonitor() Log {
	l, err := LookupLog("trustmonitor")
	if err != nil {
		panic(err)
	}
	return l
}

// trustDuo is the Trust Monitor as Duo keeps it. An offset counts the window's
// records.
type trustDuo struct {
	t       *testing.T
	seconds []int64 // of the events, after noon, in the order in which they were filed
	page    int     // most records that it sends, whatever it is asked for
	newest  bool    // the newest stands first
	opaque  bool    // the offset is a string
	ends    bool    // the last page has an offset too
	calls   int
}

func (d *trustDuo) answer(l Log, c Cursor, now time.Time, pageSize int) Page {
	d.t.Helper()
	d.calls++
	params := c.Params(l, now, pageSize)
	number := func(name string) int64 {
		n, err := strconv.ParseInt(strings.TrimPrefix(params.Get(name), "at-"), 10, 64)
		if err != nil {
			d.t.Fatalf("%s %q: %v", name, params.Get(name), err)
		}
		return n
	}
	from, to, skip := Millis(number("mintime")), Millis(number("maxtime")), 0
	if params.Has("offset") {
		skip = int(number("offset"))
	}
	var in []int64
	for _, s := range d.seconds {
		if at := ToMillis(noon) + Millis(1000*s); at >= from && at <= to {
			in = append(in, s)
		}
	}
	slices.Sort(in)
	if d.newest {
		slices.Reverse(in)
	}
	skip = min(skip, len(in))
	end := min(skip+min(d.page, int(number("limit"))), len(in))
	var list []string
	for _, s := range in[skip:end] {
		list = append(list, fmt.Sprintf(`{"sekey":"SE%d","surfaced_timestamp":%d}`, s, int64(ToMillis(noon))+1000*s))
	}
	metadata := "{}"
	switch {
	case end == len(in) && !d.ends:
	case d.opaque:
		metadata = fmt.Sprintf(`{"next_offset":"at-%d"}`, end)
	default:
		metadata = fmt.Sprintf(`{"next_offset":%d}`, end)
	}
	p, err := ParsePage(l, fmt.Appendf(nil, `{"stat":"OK","response":{"events":[%s],"metadata":%s}}`, strings.Join(list, ","), metadata))
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// read makes one call and returns the cursor that follows it, as it is stored;
// got counts what is fresh by id.
func (d *trustDuo) read(l Log, c Cursor, now time.Time, got map[string]int) Cursor {
	d.t.Helper()
	open, _, _ := c.Open(now, window)
	next, fresh, err := open.Advance(l, d.answer(l, open, now, 200), window, 200, now)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range fresh {
		got[f.id]++
	}
	return throughJSON(d.t, next)
}

var walks = flag.Uint64("walks", 20, "how many random hours TestPositionDelivers reads")

// Whatever the order, the page size and the form of the offset, and with events
// filed late: each arrives once.
func TestPositionDelivers(t *testing.T) {
	l := trustMonitor()
	for seed := range *walks {
		r := rand.New(rand.NewPCG(seed, 0))
		d := &trustDuo{t: t, page: 1 + r.IntN(5), newest: r.IntN(2) == 0, opaque: r.IntN(2) == 0, ends: r.IntN(2) == 0}
		w := Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: 1 + r.IntN(5)}
		c, got := NewCursor(noon, noon), map[string]int{}
		for m := range 60 {
			now := minute(float64(m))
			for range r.IntN(4) { // between 1 and 6 minutes old
				if s := int64(60*m) - 60 - r.Int64N(300); s >= 0 && !slices.Contains(d.seconds, s) && m < 50 {
					d.seconds = append(d.seconds, s)
				}
			}
			for {
				open, wait, _ := c.Open(now, w)
				if wait > 0 {
					break
				}
				next, fresh, err := open.Advance(l, d.answer(l, open, now, w.PageSize), w, w.PageSize, now)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				for _, f := range fresh {
					got[f.id]++
				}
				if c = throughJSON(t, next); c.CaughtUp() {
					break
				}
			}
		}
		want := map[string]int{}
		for _, s := range d.seconds {
			want[fmt.Sprint("SE", s)] = 1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: times delivered (-want +got):\n%s", seed, diff)
		}
	}
}

// An idle one costs one call a poll: its last page has no offset.
func TestPositionIdleCalls(t *testing.T) {
	l := trustMonitor()
	d := &trustDuo{t: t, page: 200, seconds: []int64{10, 20, 30}}
	c := NewCursor(noon, noon)
	for m := range 100 {
		now := minute(float64(3 + m))
		open, _, _ := c.Open(now, window)
		next, _, err := open.Advance(l, d.answer(l, open, now, 200), window, 200, now)
		if err != nil {
			t.Fatal(err)
		}
		c = next
	}
	if d.calls != 100 || !c.CaughtUp() {
		t.Errorf("%d calls in 100 polls, caught up: %v", d.calls, c.CaughtUp())
	}
}

// An offset that leads back is an error, not a page.
func TestPositionGoesOn(t *testing.T) {
	for _, tc := range []struct {
		before, next string
		want         bool
	}{
		{"", "2", true}, {"2", "", true}, {"2", "3", true}, {"9", "10", true},
		{"2", "2", false}, {"3", "2", false}, {"10", "9", false},
		{"b", "a", true}, {"a", "a", false}, {"2", "a", true},
	} {
		c, _, _ := NewCursor(noon, noon).Open(minute(30), window)
		c.Next = tc.before
		p := Page{Records: []Record{newRecord(trustMonitor(), []byte(`{"sekey":"SE1"}`))}, Next: tc.next}
		if _, _, err := c.Advance(trustMonitor(), p, window, 3, noon); errors.Is(err, ErrPaging) == tc.want {
			t.Errorf("%q after %q: %v", tc.next, tc.before, err)
		}
	}
}

// An event without a time is delivered once.
func TestPositionWithoutTime(t *testing.T) {
	l := trustMonitor()
	p := Page{Records: []Record{newRecord(l, []byte(`{"sekey":"SE1"}`)), newRecord(l, []byte(`{"sekey":"SE2","surfaced_timestamp":1714564860000}`))}}
	c, n := NewCursor(noon, noon), 0
	for m := range 20 {
		open, _, _ := c.Open(minute(float64(4+m)), window)
		next, fresh, err := open.Advance(l, p, window, 3, minute(float64(4+m)))
		if err != nil {
			t.Fatal(err)
		}
		c, n = next, n+len(fresh)
	}
	if n != 2 {
		t.Errorf("%d delivered, want 2", n)
	}
}

// A walk that is taken up again when the window's beginning has aged out, and
// with it what the offset counted, skips nothing that Duo still has.
func TestPositionBeginningAgedOut(t *testing.T) {
	for _, newest := range []bool{false, true} {
		l, d := trustMonitor(), &trustDuo{t: t, page: 4, newest: newest}
		for i := range int64(20) {
			d.seconds = append(d.seconds, 1800*i)
		}
		now, got := noon.Add(11*time.Hour), map[string]int{}
		c := NewCursor(noon, now)
		for page := 0; page == 0 || !c.CaughtUp(); page++ {
			if page == 2 {
				now = noon.Add(retention + 2*time.Hour)
			}
			c = d.read(l, c, now, got)
		}
		for _, s := range d.seconds {
			// It begins an hour behind what Duo still has, so that it can end.
			if n := got[fmt.Sprint("SE", s)]; n > 1 || n == 0 && s >= 3*3600 {
				t.Errorf("newest first %v: the event of %v came %d times", newest, time.Duration(s)*time.Second, n)
			}
		}
	}
}

// A clock that is ahead for one call of a walk loses nothing, be it beyond the
// beginning of the window or beyond its end.
func TestPositionClockAheadForACall(t *testing.T) {
	for _, newest := range []bool{false, true} {
		for _, ahead := range []time.Duration{retention - 5*time.Hour, retention + 24*time.Hour} {
			for wrong := range 5 {
				l, d, got := trustMonitor(), &trustDuo{t: t, page: 4, newest: newest}, map[string]int{}
				for i := range int64(20) {
					d.seconds = append(d.seconds, 1800*i)
				}
				c := NewCursor(noon, noon)
				for page := range 30 {
					now := noon.Add(11 * time.Hour)
					if page == wrong {
						now = now.Add(ahead)
					}
					c = d.read(l, c, now, got)
				}
				for _, s := range d.seconds {
					if n := got[fmt.Sprint("SE", s)]; n != 1 {
						t.Errorf("newest first %v, %v ahead at call %d: the event of %v came %d times", newest, ahead, wrong, time.Duration(s)*time.Second, n)
					}
				}
			}
		}
	}
}

// Each offset that Duo refuses opens the window again, as long as the walk
// before it led on.
func TestPositionReopensAgain(t *testing.T) {
	l, d := trustMonitor(), &trustDuo{t: t, page: 2, seconds: []int64{10, 20, 30, 40, 50, 60, 70, 80}}
	c, delivered := NewCursor(noon, noon), 0
	walk := func(pages int) {
		for range pages {
			c, _, _ = c.Open(minute(10), window)
			next, fresh, err := c.Advance(l, d.answer(l, c, minute(10), 200), window, 200, minute(10))
			if err != nil {
				t.Fatal(err)
			}
			c, delivered = next, delivered+len(fresh)
		}
	}
	reopen := func(want bool) {
		t.Helper()
		var ok bool
		if c, ok = c.Reopen(); ok != want {
			t.Fatalf("after %d records the window was opened again: %v, want %v", delivered, ok, want)
		}
	}
	walk(1)
	reopen(true)
	walk(1) // known
	reopen(false)
	walk(1) // new
	reopen(true)
	walk(4)
	if delivered != 8 || !c.CaughtUp() {
		t.Errorf("%d of 8 were delivered, caught up: %v", delivered, c.CaughtUp())
	}
}
