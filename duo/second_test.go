package duo

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// secondsLog is a log that is read by seconds, with small pages.
func secondsLog(page int) Log {
	l, err := LookupLog("administrator")
	if err != nil {
		panic(err)
	}
	l.paging = bySecond{page: page}
	return l
}

// v1Duo is a log as Duo keeps it: the earliest records from a second on.
type v1Duo struct {
	t         *testing.T
	records   []v1Record // by second
	page      int
	exclusive bool // mintime itself is left out
	newest    bool // a page's newest record stands first
	calls     int
}

type v1Record struct {
	second int64 // after noon
	text   string
}

func (d *v1Duo) answer(l Log, mintime string) Page {
	d.t.Helper()
	d.calls++
	from, err := strconv.ParseInt(mintime, 10, 64)
	if err != nil {
		d.t.Fatalf("mintime %q: %v", mintime, err)
	}
	if d.exclusive {
		from++
	}
	var list []string
	for _, r := range d.records {
		if s := noon.Unix() + r.second; s >= from && len(list) < d.page {
			list = append(list, fmt.Sprintf(`{"action":%q,"timestamp":%d}`, r.text, s))
		}
	}
	if d.newest {
		slices.Reverse(list)
	}
	p, err := ParsePage(l, []byte(`{"stat":"OK","response":[`+strings.Join(list, ",")+`]}`))
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// v1Reader reads a v1Duo as the poller does.
type v1Reader struct {
	*v1Duo
	log      Log
	w        Window
	c        Cursor
	got      []string // action@second of what was delivered
	ids      map[string]bool
	crowded  []Millis
	restarts bool // the cursor goes through JSON after each page
}

func newV1Reader(d *v1Duo, w Window, since time.Time) *v1Reader {
	return &v1Reader{v1Duo: d, log: secondsLog(d.page), w: w, c: NewCursor(since, noon), ids: map[string]bool{}}
}

// poll reads one window, as of a time, to its end.
func (r *v1Reader) poll(now time.Time) {
	r.t.Helper()
	for page := 0; ; page++ {
		open, wait, _ := r.c.Open(now, r.w)
		if wait > 0 {
			return
		}
		p := r.answer(r.log, open.Params(r.log, now, 3).Get("mintime"))
		next, fresh, err := open.Advance(r.log, p, r.w, 3, now)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, f := range fresh {
			if r.ids[f.EventID] {
				r.t.Errorf("event_id %s was delivered twice", f.EventID)
			}
			r.ids[f.EventID] = true
			action, _, _ := strings.Cut(strings.TrimPrefix(string(f.Raw), `{"action":"`), `"`)
			r.got = append(r.got, fmt.Sprintf("%s@%d", action, f.Time.Unix()-noon.Unix()))
		}
		if next.Crowded != 0 {
			r.crowded = append(r.crowded, next.Crowded)
		}
		if r.restarts {
			next = throughJSON(r.t, next)
		}
		if r.c = next; next.CaughtUp() {
			return
		}
		if page > 10*len(r.records)+100 {
			r.t.Fatalf("no end at %+v", r.c)
		}
	}
}

func (r *v1Reader) want() (want []string) {
	for _, rec := range r.records {
		want = append(want, fmt.Sprintf("%s@%d", rec.text, rec.second))
	}
	return want
}

func (r *v1Reader) check() {
	r.t.Helper()
	slices.Sort(r.got)
	want := r.want()
	slices.Sort(want)
	if diff := cmp.Diff(want, r.got); diff != "" {
		r.t.Errorf("delivered (-filed +got):\n%s", diff)
	}
}

var v1Window = Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: 1000}

// Fifteen records, nine of them in one second and some of them equal, with a
// page border behind each: nothing is missing, nothing comes twice, whichever
// way Duo understands mintime and sorts its pages.
func TestSecondsPageBorders(t *testing.T) {
	for border := range 15 {
		for _, exclusive := range []bool{false, true} {
			for _, newest := range []bool{false, true} {
				for _, overlap := range []time.Duration{0, time.Second, 5 * time.Minute} {
					name := fmt.Sprintf("border %d, exclusive %v, newest first %v, overlap %v", border, exclusive, newest, overlap)
					t.Run(name, func(t *testing.T) {
						d := &v1Duo{t: t, page: 10, exclusive: exclusive, newest: newest}
						// What comes before moves the border.
						for i := range 10 - border%10 {
							d.records = append(d.records, v1Record{int64(i / 3), fmt.Sprint("before ", i)})
						}
						for i := range 15 {
							d.records = append(d.records, v1Record{20 + int64((i+6)/9), fmt.Sprint("same ", i%4)})
						}
						w := v1Window
						w.Overlap = overlap
						r := newV1Reader(d, w, noon.Add(-time.Hour))
						r.restarts = true
						for m := range 10 {
							r.poll(minute(float64(3 + m)))
						}
						r.check()
					})
				}
			}
		}
	}
}

// What is in a second beyond a page cannot be read: it is said, and all that
// comes before and after it arrives.
func TestSecondsCrowded(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		d := &v1Duo{t: t, page: 10, exclusive: exclusive}
		for i := range 25 {
			d.records = append(d.records, v1Record{[]int64{10, 20, 20, 20, 30}[i/5], fmt.Sprint("e", i)})
		}
		r := newV1Reader(d, v1Window, noon)
		for m := range 10 {
			r.poll(minute(float64(3 + m)))
		}
		passed := 0
		for _, missing := range missingOf(r.want(), r.got) {
			if !strings.HasSuffix(missing, "@20") {
				t.Errorf("exclusive %v: %s is missing", exclusive, missing)
			}
			passed++
		}
		if passed != 5 || len(r.got) != 20 {
			t.Errorf("exclusive %v: %d delivered, %d passed over, want 20 and 5", exclusive, len(r.got), passed)
		}
		if len(r.crowded) == 0 || slices.ContainsFunc(r.crowded, func(m Millis) bool { return m != ToMillis(noon.Add(20*time.Second)) }) {
			t.Errorf("exclusive %v: said of %v, want 12:00:20 only", exclusive, r.crowded)
		}
	}
}

func missingOf(want, got []string) (missing []string) {
	for _, w := range want {
		if !slices.Contains(got, w) {
			missing = append(missing, w)
		}
	}
	return missing
}

// What is younger than the delay waits, and comes once when it is old enough.
func TestSecondsHoldBack(t *testing.T) {
	d := &v1Duo{t: t, page: 10, records: []v1Record{{60, "old"}, {119, "on the edge"}, {121, "young"}, {150, "younger"}}}
	r := newV1Reader(d, v1Window, noon)
	r.poll(minute(4)) // the window ends at 12:02
	if diff := cmp.Diff([]string{"old@60", "on the edge@119"}, r.got); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	r.poll(minute(5))
	r.check()
}

// A record that is filed late, within the overlap, comes; what was there before
// since does not.
func TestSecondsLateAndSince(t *testing.T) {
	d := &v1Duo{t: t, page: 10, records: []v1Record{{600, "a"}, {660, "b"}}}
	r := newV1Reader(d, v1Window, noon.Add(10*time.Minute))
	r.poll(minute(14))
	d.records = []v1Record{{590, "late and before since"}, {600, "a"}, {600, "late"}, {660, "b"}, {700, "c"}}
	r.poll(minute(15))
	d.records = d.records[1:]
	r.check()
}

// A beginning within a second takes that second whole: its records do not say
// more.
func TestSecondsBeginWithinSecond(t *testing.T) {
	d := &v1Duo{t: t, page: 10, records: []v1Record{{599, "before"}, {600, "a"}, {601, "b"}}}
	r := newV1Reader(d, v1Window, noon.Add(600*time.Second+700*time.Millisecond))
	for m := range 10 {
		r.poll(minute(float64(14 + m)))
	}
	d.records = d.records[1:]
	r.check()
}

// Without an overlap the newest second is read again all the same, whichever
// way Duo understands mintime.
func TestSecondsLateWithoutOverlap(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		d := &v1Duo{t: t, page: 10, exclusive: exclusive, records: []v1Record{{600, "a"}}}
		w := v1Window
		w.Overlap = 0
		r := newV1Reader(d, w, noon)
		r.poll(minute(14))
		d.records = append(d.records, v1Record{600, "late"}, v1Record{600, "a"})
		r.poll(minute(15))
		r.check()
	}
}

// What was looked at by a clock that was ahead, in the midst of its newest
// second, is looked at again from before that one.
func TestSecondsClockWasAhead(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		d := &v1Duo{t: t, page: 10, exclusive: exclusive, records: []v1Record{{600, "a"}}}
		w := v1Window
		w.Overlap = time.Second
		r := newV1Reader(d, w, noon)
		r.poll(minute(6*60 + 10))
		d.records = append(d.records, v1Record{600, "of the same second"}, v1Record{604, "b"})
		r.poll(minute(15))
		r.poll(minute(16))
		r.check()
	}
}

// So does a busy one whose pages are not full.
func TestSecondsBusyCalls(t *testing.T) {
	d := &v1Duo{t: t, page: 100}
	r := newV1Reader(d, v1Window, noon)
	const polls = 100
	for m := range polls {
		for i := range 6 {
			d.records = append(d.records, v1Record{int64(60*(3+m) + 10*i), "e"})
		}
		r.poll(minute(float64(4 + m)))
	}
	if d.calls != polls {
		t.Errorf("%d calls in %d polls", d.calls, polls)
	}
}

// An idle log costs one call a poll: what is behind its end is looked at once,
// and then hourly in place of a usual call.
func TestSecondsIdleCalls(t *testing.T) {
	for _, n := range []int{0, 1, 3, 8} {
		d := &v1Duo{t: t, page: 10}
		for i := range n {
			d.records = append(d.records, v1Record{60, fmt.Sprint(i)})
		}
		r := newV1Reader(d, v1Window, noon)
		const polls = 300
		for m := range polls {
			r.poll(minute(float64(3 + m)))
		}
		r.check()
		// At most once: the second again, and the one after it.
		if extra := d.calls - polls; extra > 2 {
			t.Errorf("%d records: %d calls in %d polls, more than 2 beyond one each", n, d.calls, polls)
		}
	}
}

// A Duo whose pages are smaller than it was thought is read to its end all the
// same, as long as no second holds more than a page.
func TestSecondsSmallerPages(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		d := &v1Duo{t: t, page: 1 + r.IntN(8), newest: r.IntN(2) == 0}
		at := int64(0)
		for len(d.records) < 60 {
			for i := range 1 + r.IntN(d.page) {
				d.records = append(d.records, v1Record{at, fmt.Sprint(i % 2)})
			}
			at += 1 + r.Int64N(60)
		}
		reader := newV1Reader(d, v1Window, noon)
		reader.log = secondsLog(1000)
		for m := range 60 {
			reader.poll(minute(float64(3 + m)))
		}
		if reader.check(); t.Failed() {
			t.Fatalf("seed %d, page %d", seed, d.page)
		}
	}
}

// A full page that ends before what was asked for is no page: a Duo that
// ignores mintime must not be asked second by second.
func TestSecondsIgnoredMintime(t *testing.T) {
	l := secondsLog(2)
	c, _, _ := NewCursor(noon, noon).Open(minute(30), v1Window)
	d := &v1Duo{t: t, page: 2, records: []v1Record{{-60, "a"}, {-50, "b"}}}
	if _, _, err := c.Advance(l, d.answer(l, "0"), v1Window, 3, noon); !errors.Is(err, ErrPaging) {
		t.Errorf("error %v, want %v", err, ErrPaging)
	}
}

// Records without a time are delivered, once.
func TestSecondsWithoutTime(t *testing.T) {
	l := secondsLog(10)
	p, err := ParsePage(l, []byte(`{"response":[{"action":"none"},{"action":"timed","timestamp":"1714564860"},{"action":"odd","timestamp":null,"isotimestamp":"?"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	c := NewCursor(noon, noon)
	var got []string
	for m := range 20 {
		open, _, _ := c.Open(minute(float64(10+m)), v1Window)
		next, fresh, err := open.Advance(l, p, v1Window, 3, minute(float64(10+m)))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range fresh {
			got = append(got, r.Time.Format(time.TimeOnly))
		}
		c = next
	}
	if diff := cmp.Diff([]string{"12:01:00", "12:01:00", "12:01:00"}, got); diff != "" {
		t.Errorf("times of what was delivered (-want +got):\n%s", diff)
	}
}

// A record without a time comes once, also where it was first read by a clock
// that was behind: what is read again is not forgotten.
func TestSecondsWithoutTimeByWrongClock(t *testing.T) {
	l, none := secondsLog(10), `{"action":"none"}`
	timed := func(m float64) string { return fmt.Sprintf(`{"action":"timed","timestamp":%d}`, minute(m).Unix()) }
	c, n := NewCursor(noon, noon), 0
	for _, poll := range []struct {
		now     float64
		records []string
	}{
		{4, []string{timed(1), none}}, // it is a quarter past by Duo's clock
		{20, []string{timed(1), none, timed(17)}},
		{21, []string{none, timed(17)}},
		{22, []string{none, timed(17)}},
	} {
		p, err := ParsePage(l, []byte(`{"response":[`+strings.Join(poll.records, ",")+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		open, _, _ := c.Open(minute(poll.now), v1Window)
		next, fresh, err := open.Advance(l, p, v1Window, 3, minute(poll.now))
		if err != nil {
			t.Fatal(err)
		}
		c, n = throughJSON(t, next), n+len(fresh)
	}
	if n != 3 {
		t.Errorf("%d were delivered, want 3", n)
	}
}

// Of a page most of which is younger than the window nobody knows that a second
// of it holds too much.
func TestSecondsYoungPageIsNotCrowded(t *testing.T) {
	d := &v1Duo{t: t, page: 10, records: []v1Record{{60, "a"}}}
	for i := range 20 {
		d.records = append(d.records, v1Record{int64(120 + i), fmt.Sprint("young ", i)})
	}
	r := newV1Reader(d, v1Window, noon)
	r.poll(minute(3))
	if len(r.crowded) > 0 {
		t.Errorf("said of %v", r.crowded)
	}
}

// A record whose second-best time is nonsense is passed on as one without a
// time, and leads nowhere.
func TestSecondsOddTime(t *testing.T) {
	for _, at := range []string{"1999-01-01T00:00:00Z", "2099-01-01T00:00:00Z"} {
		t.Run(at, func(t *testing.T) {
			l := secondsLog(10)
			c, got := NewCursor(noon, noon), map[string]int{}
			for m := range 30 {
				now := minute(float64(30 + m))
				for range 20 {
					open, _, _ := c.Open(now, v1Window)
					from, _ := strconv.ParseInt(open.Params(l, now, 3).Get("mintime"), 10, 64)
					var list []string
					for i := range int64(40) { // one a second, the odd one among them
						if s := noon.Unix() + i; s >= from && len(list) < 10 {
							list = append(list, fmt.Sprintf(`{"action":"%d","timestamp":%d}`, i, s))
							if i == 20 {
								list[len(list)-1] = fmt.Sprintf(`{"action":"odd","isotimestamp":%q}`, at)
							}
						}
					}
					p, err := ParsePage(l, []byte(`{"response":[`+strings.Join(list, ",")+`]}`))
					if err != nil {
						t.Fatal(err)
					}
					next, fresh, err := open.Advance(l, p, v1Window, 3, now)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range fresh {
						got[string(r.Raw)]++
					}
					if c = throughJSON(t, next); c.CaughtUp() {
						break
					}
				}
			}
			for r, n := range got {
				if n != 1 {
					t.Errorf("%d times: %s", n, r)
				}
			}
			if len(got) != 40 {
				t.Errorf("%d of 40 were delivered", len(got))
			}
		})
	}
}

func throughJSON(t *testing.T, c Cursor) (again Cursor) {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	return again
}
