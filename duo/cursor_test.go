package duo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// noon is when the cursors of these tests begin; times are minutes after it.
var noon = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

var window = Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: 3}

func minute(m float64) time.Time { return noon.Add(time.Duration(m * float64(time.Minute))) }
func at(m float64) Millis        { return ToMillis(minute(m)) }

// pageOf is a page of records of these times, which are their ids too. It ends
// with an offset, as pages with records do, unless next says otherwise.
func pageOf(t *testing.T, total int, minutes ...float64) Page {
	t.Helper()
	var records []string
	next := "null"
	for _, m := range minutes {
		records = append(records, fmt.Sprintf(`{"activity_id":"%v","ts":%q}`, m, minute(m).Format("2006-01-02T15:04:05.000000+00:00")))
		next = fmt.Sprintf(`"%d,%v"`, at(m), m)
	}
	return parsed(t, fmt.Sprintf(`{"response":{"items":[%s],"metadata":{"next_offset":%s,"total_objects":%d}}}`, strings.Join(records, ","), next, total))
}

func parsed(t *testing.T, body string) Page {
	t.Helper()
	p, err := ParsePage(logs[1], []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// advance is Advance for a page that leads on; it returns the ids of the fresh
// records.
func advance(t *testing.T, c Cursor, p Page, w Window) (Cursor, []string) {
	t.Helper()
	next, fresh, err := c.Advance(logs[1], p, w, w.PageSize, minute(60))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range fresh {
		ids = append(ids, r.id)
	}
	return next, ids
}

// opened is a cursor that began at noon with its window open until a minute.
func opened(t *testing.T, until float64, w Window) Cursor {
	t.Helper()
	return reopened(t, Cursor{From: at(0), Checked: at(0), SeenSince: at(0)}, until, w)
}

func reopened(t *testing.T, c Cursor, until float64, w Window) Cursor {
	t.Helper()
	c, wait, _ := c.Open(minute(until).Add(w.Delay), w)
	if wait > 0 || c.Until != at(until) {
		t.Fatalf("Open: until %v, wait %v; want until %v", c.Until, wait, at(until))
	}
	return c
}

func TestOpen(t *testing.T) {
	fresh := Cursor{From: at(0), Checked: at(0), SeenSince: at(0)}
	running := fresh
	running.Until, running.Next, running.Last, running.Newest = at(10), "1,a", at(5), at(5)
	for _, tc := range []struct {
		name  string
		c     Cursor
		now   time.Time
		until Millis
		next  string
		wait  time.Duration
	}{
		{"ends a delay before now", fresh, minute(12), at(10), "", 0},
		{"as short as may be", fresh, minute(2).Add(minWindow), at(0) + 5000, "", 0},
		{"too early", fresh, minute(2).Add(minWindow - time.Millisecond), 0, "", time.Millisecond},
		{"a cursor that begins now", fresh, minute(0), 0, "", 2*time.Minute + minWindow},
		{"a running one stays", running, minute(30), at(10), "1,a", 0},
		{"a running one that aged out begins anew", running, minute(10).Add(retention), at(8) + ToMillis(time.Unix(0, 0).Add(retention)), "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, wait, _ := tc.c.Open(tc.now, window)
			if c.Until != tc.until || c.Next != tc.next || wait != tc.wait {
				t.Errorf("until %v, next %q, wait %v; want %v, %q, %v", c.Until, c.Next, wait, tc.until, tc.next, tc.wait)
			}
		})
	}
}

// A warning that events are gone comes exactly once, and only where some that
// were never read can be.
func TestOpenReportsWhatWasMissed(t *testing.T) {
	day := 24 * time.Hour
	for _, tc := range []struct {
		name string
		c    Cursor
		away time.Duration // since noon
		want bool
	}{
		{"stopped for 179 days", Cursor{From: at(0), Checked: at(5)}, 179 * day, false},
		{"stopped for 181 days", Cursor{From: at(0), Checked: at(5)}, 181 * day, true},
		{"idle for 200 days but read to its end yesterday", Cursor{From: at(0), Checked: ToMillis(noon.Add(199 * day))}, 200 * day, false},
		{"in the middle of an old window", Cursor{From: at(0), Until: at(50), Next: "1,a", Last: at(5), Newest: at(5), Checked: at(0)}, 181 * day, true},
		{"in a window that reaches within", Cursor{From: at(0), Until: at(60 * 24 * 100), Next: "1,a", Last: at(60 * 24 * 10), Newest: at(60 * 24 * 10), Checked: at(0)}, 181 * day, false},
		{"a first run that asks for everything", NewCursor(noon.Add(-400*day), noon), 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := noon.Add(tc.away).Add(window.Delay)
			c, wait, missed := tc.c.Open(now, window)
			if got := missed != 0; got != tc.want || wait != 0 {
				t.Fatalf("missed %v (wait %v), want it said: %v", missed, wait, tc.want)
			}
			if missed != 0 && missed != ToMillis(now.Add(-retention)) {
				t.Errorf("gone before %v, want %v", missed, now.Add(-retention))
			}
			if _, _, again := c.Open(now, window); again != 0 {
				t.Error("said twice")
			}
		})
	}
}

func TestNewCursor(t *testing.T) {
	for _, tc := range []struct {
		name        string
		since, want time.Time
	}{
		{"an hour ago", noon.Add(-time.Hour), noon.Add(-time.Hour)},
		{"now", noon, noon},
		{"a year ago", noon.AddDate(-1, 0, 0), noon.Add(5*time.Minute - retention)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := Cursor{From: ToMillis(tc.want), Checked: ToMillis(tc.want), SeenSince: ToMillis(tc.want)}
			if diff := cmp.Diff(want, NewCursor(tc.since, noon)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParams(t *testing.T) {
	c := Cursor{From: at(0), Until: at(10)}
	for _, tc := range []struct {
		name string
		edit func(*Cursor)
		now  time.Time
		want string
	}{
		{"first page", func(*Cursor) {}, minute(12), fmt.Sprintf("limit=3&maxtime=%d&mintime=%d&sort=ts%%3Aasc", at(10), at(0))},
		{"next page", func(c *Cursor) { c.Next = "1,a" }, minute(12), fmt.Sprintf("limit=3&maxtime=%d&mintime=%d&next_offset=1%%2Ca&sort=ts%%3Aasc", at(10), at(0))},
		{"opened again", func(c *Cursor) { c.Reopened = at(5) }, minute(12), fmt.Sprintf("limit=3&maxtime=%d&mintime=%d&sort=ts%%3Aasc", at(10), at(5))},
		{"older than Duo keeps", func(*Cursor) {}, minute(5).Add(retention), fmt.Sprintf("limit=3&maxtime=%d&mintime=%d&sort=ts%%3Aasc", at(10), at(5))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := c
			tc.edit(&c)
			if diff := cmp.Diff(tc.want, c.Params(logs[1], tc.now, 3).Encode()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWindowEnds(t *testing.T) {
	noOverlap := window
	noOverlap.Overlap = 0
	for _, tc := range []struct {
		name  string
		w     Window
		until float64
		pages [][]float64
		total int
		open  bool
		from  Millis
	}{
		{"nothing came: from stays", window, 30, [][]float64{{}}, 0, false, at(0)},
		{"a short page", window, 30, [][]float64{{28, 29}}, 2, false, at(24)},
		{"a short page without a total", window, 30, [][]float64{{28, 29}}, 0, false, at(24)},
		{"never before the beginning", window, 30, [][]float64{{25}}, 0, false, at(20)},
		{"a full page goes on", window, 30, [][]float64{{27, 28, 29}}, 3, true, at(0)},
		{"a full page and none", window, 30, [][]float64{{27, 28, 29}, {}}, 3, false, at(24)},
		{"a short page of more", window, 30, [][]float64{{28, 29}}, 4, true, at(0)},
		{"an old short page goes on without a total", window, 30, [][]float64{{1, 2}}, 0, true, at(0)},
		{"as old as the overlap and a poll", window, 30, [][]float64{{24}}, 0, false, at(19)},
		{"a little older", window, 30, [][]float64{{23.99}}, 0, true, at(0)},
		{"later than until", window, 30, [][]float64{{28, 29, 31}}, 0, false, at(24)},
		{"only later than until", window, 30, [][]float64{{31, 32, 33}}, 0, false, at(0)},
		{"at until", window, 30, [][]float64{{30}}, 0, false, at(25)},
		{"no overlap reads the last millisecond again", noOverlap, 30, [][]float64{{30}}, 0, false, at(30)},
		{"nearer to the beginning than the overlap", window, 4, [][]float64{{3}}, 0, false, at(0)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := opened(t, tc.until, tc.w)
			for _, p := range tc.pages {
				c, _ = advance(t, c, pageOf(t, tc.total, p...), tc.w)
			}
			if c.CaughtUp() == tc.open || c.From != tc.from {
				t.Errorf("caught up %v, from %v; want %v, %v", c.CaughtUp(), c.From, !tc.open, tc.from)
			}
			if c.CaughtUp() && (c.Next != "" || c.Last != 0 || c.Newest != 0 || c.Checked != at(tc.until)) {
				t.Errorf("a closed window left %+v", c)
			}
		})
	}
}

// The end of an idle log is looked at once, and again after an hour.
func TestVerifiedEnd(t *testing.T) {
	for _, tc := range []struct {
		later     float64 // minutes until the next window
		wantAgain bool
	}{{1, false}, {59, false}, {60, true}} {
		t.Run(fmt.Sprintf("%v minutes later", tc.later), func(t *testing.T) {
			first, _ := advance(t, opened(t, 30, window), pageOf(t, 0, 1), window)
			c, _ := advance(t, first, pageOf(t, 0), window)
			if !c.CaughtUp() {
				t.Fatal("an empty page left the window open")
			}
			c = reopened(t, c, 30+tc.later, window)
			if got := c.Next == first.Next; got != tc.wantAgain {
				t.Fatalf("opened at %q, at the end: %v, want %v", c.Next, got, tc.wantAgain)
			}
			if tc.wantAgain {
				if c, _ = advance(t, c, pageOf(t, 0), window); !c.CaughtUp() || c.VerifiedAt != at(90) {
					t.Errorf("the end was not noted again: %+v", c)
				}
				return
			}
			c, fresh := advance(t, c, pageOf(t, 0, 1), window)
			if len(fresh) > 0 || !c.CaughtUp() {
				t.Errorf("%q came again, caught up %v", fresh, c.CaughtUp())
			}
		})
	}
}

// Where the clock was ahead when the end was looked at, it is looked at again
// as soon as the clock is right.
func TestVerifiedByClockAhead(t *testing.T) {
	c, _ := advance(t, opened(t, 60*24*400, window), pageOf(t, 0, 1), window)
	tail := c.Next
	c, _ = advance(t, c, pageOf(t, 0), window)
	if c = reopened(t, c, 200, window); c.Next == "" {
		c, _ = advance(t, c, pageOf(t, 0, 1), window)
	}
	if c.Next != tail {
		t.Errorf("the end is not looked at again: next_offset %q, caught up %v", c.Next, c.CaughtUp())
	}
}

// The end is a place, not a millisecond: others of its millisecond, on pages
// that Duo caps, are read up to it.
func TestVerifiedWithinOneMillisecond(t *testing.T) {
	page := func(id string) Page {
		return parsed(t, fmt.Sprintf(`{"response":{"items":[{"activity_id":%q,"ts":%q}],"metadata":{"next_offset":"%d,%s"}}}`,
			id, minute(1).Format(time.RFC3339), at(1), id))
	}
	c, _ := advance(t, opened(t, 30, window), page("a"), window)
	c, _ = advance(t, c, page("c"), window)
	c, _ = advance(t, c, pageOf(t, 0), window)
	c, _ = advance(t, reopened(t, c, 31, window), page("a"), window)
	if c.CaughtUp() {
		t.Fatal("the window ended before the place that was seen to be the end")
	}
	if _, fresh := advance(t, c, page("b"), window); len(fresh) != 1 {
		t.Errorf("%q are new, want b", fresh)
	}
}

// An end that was looked at while late records could still be filed before it
// is no place to begin at: after an outage they are there.
func TestTailLeavesOutNothingLate(t *testing.T) {
	c, _ := advance(t, opened(t, 30, window), pageOf(t, 3, 27, 28, 29), window)
	c, _ = advance(t, c, pageOf(t, 3), window)
	if c = reopened(t, c, 95, window); c.Next != "" {
		t.Fatalf("the window begins at %q, not at %v", c.Next, c.From)
	}
	if _, fresh := advance(t, c, pageOf(t, 0, 27, 28, 28.5), window); len(fresh) != 1 {
		t.Errorf("%q are new, want 28.5", fresh)
	}
}

// Records that come again within the overlap are dropped, others of the same
// time are not.
func TestOverlapDropsWhatWasReceived(t *testing.T) {
	c, fresh := advance(t, opened(t, 30, window), pageOf(t, 0, 27, 29), window)
	if diff := cmp.Diff([]string{"27", "29"}, fresh); diff != "" {
		t.Error(diff)
	}
	c, fresh = advance(t, reopened(t, c, 31, window), pageOf(t, 0, 27, 28, 29), window)
	if diff := cmp.Diff([]string{"28"}, fresh); diff != "" {
		t.Error(diff)
	}
	if c, fresh = advance(t, c, pageOf(t, 0, 30), window); !c.CaughtUp() || c.From != at(25) {
		t.Errorf("from %v (caught up %v), want %v", c.From, c.CaughtUp(), at(25))
	}
	if diff := cmp.Diff([]string{"30"}, fresh); diff != "" {
		t.Error(diff)
	}
	update := parsed(t, fmt.Sprintf(`{"response":{"items":[{"activity_id":"29","ts":%q,"more":1}]}}`, minute(29).Format(time.RFC3339)))
	if _, fresh = advance(t, reopened(t, c, 32, window), update, window); len(fresh) != 1 {
		t.Error("other content of the same id was dropped")
	}
}

// Where more lies within the overlap than is remembered, the overlap shrinks:
// nothing comes twice.
func TestBoundShrinksOverlap(t *testing.T) {
	w := window
	w.PageSize = 1000
	const n = maxSeen + 5000
	c, first := opened(t, 30, w), float64(26)
	times := make([]float64, n)
	for i := range times {
		times[i] = first + 4*float64(i)/n // all within the overlap
	}
	for i := 0; i < n; i += w.PageSize {
		c, _ = advance(t, c, pageOf(t, 0, times[i:i+w.PageSize]...), w)
		if len(c.Seen) > maxSeen {
			t.Fatalf("%d records are remembered", len(c.Seen))
		}
	}
	if c, _ = advance(t, c, pageOf(t, 0), w); !c.CaughtUp() || c.From != c.SeenSince {
		t.Fatalf("from %v, want %v, since when all is remembered", c.From, c.SeenSince)
	}
	i := 0
	for at(times[i]) < c.From {
		i++
	}
	if i < n-maxSeen || i > n-maxSeen+100 {
		t.Errorf("the next window begins at record %d, want about %d", i, n-maxSeen)
	}
	var again []string
	for c = reopened(t, c, 31, w); i < n; i += w.PageSize {
		var fresh []string
		c, fresh = advance(t, c, pageOf(t, 0, times[i:min(i+w.PageSize, n)]...), w)
		again = append(again, fresh...)
	}
	if len(again) > 0 {
		t.Errorf("%d records came twice", len(again))
	}
}

// One millisecond with more records than are remembered is not read again,
// since that would deliver the forgotten ones at each poll.
func TestBoundWithinOneMillisecond(t *testing.T) {
	w := window
	w.PageSize = 1000
	const n = maxSeen + 1000
	pages := make([]Page, 0, n/w.PageSize)
	for first := 0; first < n; first += w.PageSize {
		var records []string
		for i := range w.PageSize {
			records = append(records, fmt.Sprintf(`{"activity_id":"%06d","ts":%q}`, first+i, minute(29).Format(time.RFC3339)))
		}
		pages = append(pages, parsed(t, fmt.Sprintf(`{"response":{"items":[%s],"metadata":{"next_offset":"%d,%06d"}}}`,
			strings.Join(records, ","), at(29), first+w.PageSize)))
	}
	c, got := opened(t, 30, w), 0
	for i := range 3 {
		if i > 0 {
			c = reopened(t, c, 30+float64(i), w)
		}
		for _, p := range pages {
			if c.From > at(29) {
				break
			}
			var fresh []string
			c, fresh = advance(t, c, p, w)
			got += len(fresh)
		}
		c, _ = advance(t, c, Page{}, w)
	}
	if got != n {
		t.Errorf("%d records were delivered in three windows, want %d", got, n)
	}
}

// A longer overlap after a restart does not reach back beyond what is
// remembered.
func TestLongerOverlapAfterRestart(t *testing.T) {
	short, long := window, window
	short.Overlap, long.Overlap = time.Minute, 10*time.Minute
	c, _ := advance(t, opened(t, 30, short), pageOf(t, 0, 20, 25, 29), short)
	c, _ = advance(t, c, pageOf(t, 0), short)
	c, fresh := advance(t, reopened(t, c, 31, long), pageOf(t, 0, 29, 30), long)
	if len(fresh) != 1 || c.From != at(28) {
		t.Errorf("%q are new and the next window begins at %v; want only 30, and %v", fresh, c.From, at(28))
	}
}

func TestPagesThatLeadNowhere(t *testing.T) {
	c, _ := advance(t, opened(t, 30, window), pageOf(t, 0, 10, 11, 12), window)
	for name, p := range map[string]Page{
		"the same offset":    pageOf(t, 0, 10, 11, 12),
		"before the last":    pageOf(t, 0, 7, 8, 9),
		"before, at the end": {Records: pageOf(t, 0, 8, 9).Records},
	} {
		got, fresh, err := c.Advance(logs[1], p, window, 3, noon)
		if !errors.Is(err, ErrPaging) || fresh != nil {
			t.Errorf("%s: error %v with %d records, want ErrPaging", name, err, len(fresh))
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%s moved the cursor:\n%s", name, diff)
		}
	}
}

// Duo orders by the time that it knows; the one that a record shows may be
// rounded down to seconds. Such a page is no step back.
func TestRoundedTimesAreNoStepBack(t *testing.T) {
	w := window
	w.PageSize = 1
	page := func(shown string, next Millis) Page {
		return parsed(t, fmt.Sprintf(`{"response":{"items":[{"activity_id":"%d","ts":%q}],"metadata":{"next_offset":"%d,x"}}}`, next, shown, next))
	}
	c, _ := advance(t, opened(t, 30, w), page("2024-05-01T12:10:00.900000+00:00", at(10)+900), w)
	if _, fresh, err := c.Advance(logs[1], page("2024-05-01T12:10:00+00:00", at(10)+950), w, 1, noon); err != nil || len(fresh) != 1 {
		t.Errorf("%d fresh records and error %v, want the record", len(fresh), err)
	}
}

func TestReopen(t *testing.T) {
	first, _ := advance(t, opened(t, 30, window), pageOf(t, 0, 10, 11, 12), window)
	c, ok := first.Reopen()
	if !ok || c.Next != "" || c.Until != at(30) || c.Params(logs[1], minute(32), 3).Get("mintime") != fmt.Sprint(int64(at(12))) {
		t.Fatalf("Reopen: %v, %+v", ok, c)
	}
	c, fresh := advance(t, c, pageOf(t, 0, 12, 13, 14), window)
	if diff := cmp.Diff([]string{"13", "14"}, fresh); diff != "" {
		t.Error(diff)
	}
	if c, ok = c.Reopen(); !ok || c.Reopened != at(14) {
		t.Errorf("at another place: %v, %v", ok, c.Reopened)
	}
	if _, ok = (Cursor{From: at(0), Until: at(30)}).Reopen(); ok {
		t.Error("a window at its first page was opened again")
	}
	c = first
	c.Reopened = at(12)
	if _, ok = c.Reopen(); ok {
		t.Error("a window was opened twice at the same place")
	}
}

// Duo refuses equal bounds, so a window that is opened again at its very end
// must still have two. It never begins before that place: without an overlap
// what is there is forgotten, and would come twice.
func TestReopenAtUntil(t *testing.T) {
	w := window
	w.Overlap = 0
	c, _ := advance(t, opened(t, 30, w), pageOf(t, 0, 29.97, 29.98, 29.99), w)
	c, ok := c.Reopen()
	p := c.Params(logs[1], minute(32), 3)
	if want := fmt.Sprint(int64(at(29.99))); !ok || p.Get("mintime") != want || p.Get("maxtime") < fmt.Sprint(int64(at(29.99))+minWindow.Milliseconds()) {
		t.Errorf("mintime %s, maxtime %s (%v); want %s and at least %v more", p.Get("mintime"), p.Get("maxtime"), ok, want, minWindow)
	}
}

// One record that shows a time later than its place must not have the window
// opened again behind records that were not read.
func TestReopenAfterWrongTime(t *testing.T) {
	body := fmt.Sprintf(`{"response":{"items":[{"activity_id":"1","ts":%q},{"activity_id":"2","ts":%q},{"activity_id":"3","ts":%q}],"metadata":{"next_offset":"%d,3"}}}`,
		minute(10).Format(time.RFC3339), minute(25).Format(time.RFC3339), minute(12).Format(time.RFC3339), at(12))
	c, _ := advance(t, opened(t, 30, window), parsed(t, body), window)
	if _, _, err := c.Advance(logs[1], pageOf(t, 0, 13, 14, 15), window, 3, noon); err != nil {
		t.Errorf("the page behind it: %v", err)
	}
	c, ok := c.Reopen()
	if ok && c.Reopened > at(12) {
		t.Errorf("opened again at %v, want %v, where the page ended", c.Reopened, at(12))
	}
}

// A record that shows a time beyond the window ends it; behind it the log is
// read all the same.
func TestFutureRecordAtPageEndIsPassed(t *testing.T) {
	body := fmt.Sprintf(`{"response":{"items":[{"activity_id":"1","ts":%q},{"activity_id":"2","ts":%q},{"activity_id":"3","ts":"2090-01-01T00:00:00Z"}],"metadata":{"next_offset":"%d,3"}}}`,
		minute(28).Format(time.RFC3339), minute(28.1).Format(time.RFC3339), at(28.2))
	c := Cursor{From: at(27), Checked: at(27), SeenSince: at(27)}
	for i := range 3 {
		c = reopened(t, c, 30+float64(i), window)
		c, _ = advance(t, c, parsed(t, body), window)
		if !c.CaughtUp() {
			return // it goes on behind the page
		}
	}
	t.Errorf("three windows in a row from %v end with the same page", c.From)
}

// A record that has no time of its own is remembered for as long as it may
// come again.
func TestTimelessRecordArrivesOnce(t *testing.T) {
	timed := func(m float64) string {
		return fmt.Sprintf(`{"activity_id":"%v","ts":%q}`, m, minute(m).Format(time.RFC3339))
	}
	body := func(last float64, records ...string) Page {
		return parsed(t, fmt.Sprintf(`{"response":{"items":[%s],"metadata":{"next_offset":"%d,x"}}}`, strings.Join(records, ","), at(last)))
	}
	timeless := `{"activity_id":"none"}` // happened at 27
	c, fresh := advance(t, opened(t, 30, window), body(29, timed(1), timeless, timed(29)), window)
	if len(fresh) != 3 {
		t.Fatalf("%q are new, want 3", fresh)
	}
	c, _ = advance(t, c, Page{}, window)
	for i := range 3 {
		until := 31 + float64(i)
		c = reopened(t, c, until, window)
		if c, fresh = advance(t, c, body(until, timeless, timed(until)), window); len(fresh) != 1 {
			t.Errorf("%q are new, want only that of minute %v", fresh, until)
		}
	}
}

// A cursor is a value: what was stored stays as it was.
func TestAdvanceLeavesTheOldCursor(t *testing.T) {
	equal := `{"response":{"items":[{"ts":"2024-05-01T12:10:00Z"},{"ts":"2024-05-01T12:10:00Z"},{"ts":"2024-05-01T12:10:00Z"}],"metadata":{"next_offset":"%d,x"}}}`
	c, _ := advance(t, opened(t, 30, window), parsed(t, fmt.Sprintf(equal, 1714565400000)), window)
	before := stored(t, c)
	for i := range 3 {
		if _, fresh := advance(t, c, parsed(t, fmt.Sprintf(equal, 1714565400001+i)), window); len(fresh) != 3 {
			t.Errorf("%d of 3 equal records are new", len(fresh))
		}
	}
	if diff := cmp.Diff(before, stored(t, c)); diff != "" {
		t.Errorf("Advance changed its receiver:\n%s", diff)
	}
}

func stored(t *testing.T, c Cursor) string {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCursorJSON(t *testing.T) {
	c, _ := advance(t, opened(t, 30, window), pageOf(t, 7, 26, 27, 28), window)
	c.Equal = map[string]int{"ab": 2}
	want := `{"from":"2024-05-01T12:00:00.000Z","until":"2024-05-01T12:30:00.000Z","next_offset":"1714566480000,28","last":"2024-05-01T12:28:00.000Z","newest":"2024-05-01T12:28:00.000Z"`
	got := stored(t, c)
	if !strings.HasPrefix(got, want) {
		t.Errorf("stored as %s", got)
	}
	var back Cursor
	if err := json.Unmarshal([]byte(got), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("stored and read (-want +got):\n%s", diff)
	}
}

func TestCursorJSONRefuses(t *testing.T) {
	many := strings.Repeat(`"1714566480000 00000000000000ab",`, maxSeen+1)
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":         {``, "unexpected end"},
		"null":            {`null`, "cursor has no from"},
		"an empty object": {`{}`, "cursor has no from"},
		"another thing":   {`[]`, "cannot unmarshal array"},
		"ends before":     {`{"from":"2024-05-01T12:00:00Z","until":"2024-05-01T11:00:00Z"}`, "before it begins"},
		"no time":         {`{"from":"noon"}`, "cannot parse"},
		"too many":        {`{"from":"2024-05-01T12:00:00Z","seen":[` + many[:len(many)-1] + `]}`, "more than 20000"},
		"out of order":    {`{"from":"2024-05-01T12:00:00Z","seen":["2 00","1 00"]}`, "out of order"},
		"a torn hash":     {`{"from":"2024-05-01T12:00:00Z","seen":["1714566480000"]}`, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			var c Cursor
			if err := json.Unmarshal([]byte(tc.in), &c); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzCursorJSON(f *testing.F) {
	f.Add([]byte(`{"from":"2024-05-01T12:00:00.000Z","until":"2024-05-01T12:30:00.000Z","next_offset":"1714566480000,28","last":"2024-05-01T12:28:00.000Z","newest":"2024-05-01T12:28:00.000Z","checked":null,"verified":null,"verified_at":null,"page_len":3,"page_cap":2,"reopened":null,"equal":{"ab":2},"seen_since":"2024-05-01T12:00:00.000Z","seen":["1714566480000 00000000000000ab"]}`))
	f.Add([]byte(`{"from":"2024-05-01T14:00:00+02:00","page_cap":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again Cursor
		if json.Unmarshal(b, &c) != nil {
			return
		}
		out := stored(t, c)
		if err := json.Unmarshal([]byte(out), &again); err != nil {
			t.Fatalf("%s is stored as %s, which cannot be read: %v", b, out, err)
		}
		if diff := cmp.Diff(c, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("stored and read (-want +got):\n%s", diff)
		}
		// Whatever was stored, the next steps are taken without a panic.
		if c, wait, _ := c.Open(minute(60), window); wait == 0 {
			if p := c.Params(logs[1], minute(60), 3); p.Get("maxtime") == "" {
				t.Errorf("parameters %v", p)
			}
			_, _, _ = c.Advance(logs[1], pageOf(t, 0, 1, 2), window, 3, noon)
			_, _ = c.Reopen()
		}
	})
}

func TestCompactJSON(t *testing.T) {
	big := benchCursor()
	for _, c := range []Cursor{
		{}, {Seen: []Seen{}}, {Seen: []Seen{{}}}, {Seen: []Seen{{At: -1, Hash: 1<<64 - 1}, {At: 1, Hash: 1}}, Known: 1},
		{From: at(1), Next: "<null}>", Tail: "\xff", Equal: map[string]int{"b": 1, "a": 2}}, big,
		{Pace: &FoundPace{Limit: 1}, Skip: 1, Swept: 2, Seen: []Seen{{At: 1}}},
	} {
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.CompactJSON(); string(got) != string(want) || err != nil {
			t.Errorf("%.300s (%v), want %.300s", got, err, want)
		}
	}
	if len(big.Seen) == 0 {
		t.Error("CompactJSON changed the cursor")
	}
}
