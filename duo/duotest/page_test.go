package duotest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWindow walks windows over a log with equal milliseconds and asserts what each page holds.
func TestWindow(t *testing.T) {
	at := func(ms int) time.Time { return epoch.Add(-time.Hour + time.Duration(ms)*time.Millisecond) }
	records := []json.RawMessage{
		event("f", at(30)), event("b", at(10).Add(999*time.Microsecond)), event("c", at(20)), event("a", at(10)),
		event("e", at(20)), event("d", at(20)), event("g", at(40)),
	}
	asc := func(from, to, limit int) []string {
		return append(between(at(from), at(to)), "sort=ts:asc", fmt.Sprintf("limit=%d", limit))
	}
	tests := []struct {
		name   string
		config Config
		params []string
		want   [][]string
	}{
		{name: "bounds are inclusive", params: asc(10, 30, 100), want: [][]string{{"a", "b", "c", "d", "e", "f"}, {}}},
		{name: "bounds are strict by a millisecond", params: asc(11, 29, 100), want: [][]string{{"c", "d", "e"}, {}}},
		{name: "equal milliseconds across pages", params: asc(10, 40, 3), want: [][]string{{"a", "b", "c"}, {"d", "e", "f"}, {"g"}, {}}},
		{name: "one record a page", params: asc(20, 30, 1), want: [][]string{{"c"}, {"d"}, {"e"}, {"f"}, {}}},
		{name: "newest first by default", params: append(between(at(10), at(30)), "limit=4"), want: [][]string{{"f", "e", "d", "c"}, {"b", "a"}, {}}},
		{name: "nothing there", params: asc(31, 39, 100), want: [][]string{{}}},
		{name: "pages capped lower than asked", config: Config{PageCap: 2}, params: asc(10, 30, 3), want: [][]string{{"a", "b"}, {"c", "d"}, {"e", "f"}, {}}},
		{name: "mintime not applied beside a cursor", config: Config{OffsetAlone: true}, params: asc(20, 30, 100), want: [][]string{{"c", "d", "e", "f"}, {}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(frozen(test.config))
			s.Add(Activity, records...)
			if diff := cmp.Diff(test.want, walk(t, s, Activity, test.params...)); diff != "" {
				t.Errorf("pages (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCursorBesideBounds asks with a cursor that lies before, inside and behind the window.
func TestCursorBesideBounds(t *testing.T) {
	at := func(ms int) time.Time { return epoch.Add(-time.Hour + time.Duration(ms)*time.Millisecond) }
	window := append(between(at(20), at(30)), "sort=ts:asc")
	tests := []struct {
		name   string
		cursor string
		alone  bool
		want   string
	}{
		{"before mintime", fmt.Sprint(at(10).UnixMilli(), ",a"), false, "b c"},
		{"before mintime, which is not applied", fmt.Sprint(at(5).UnixMilli(), ",a"), true, "a b c"},
		{"on a record", fmt.Sprint(at(20).UnixMilli(), ",b"), false, "c"},
		{"where no record is", fmt.Sprint(at(20).UnixMilli(), ",bb"), false, "c"},
		{"at the end", fmt.Sprint(at(30).UnixMilli(), ",c"), false, ""},
		{"behind maxtime", fmt.Sprint(at(99).UnixMilli(), ",z"), false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(frozen(Config{OffsetAlone: test.alone}))
			s.Add(Activity, event("a", at(10)), event("b", at(20)), event("c", at(30)), event("d", at(40)))
			d := decode(t, ask(s, Activity, append(window, "next_offset="+test.cursor)...).Body.Bytes())
			if got := strings.Join(d.ids, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if d.total != 2 {
				t.Errorf("total_objects = %d, want the window's 2", d.total)
			}
		})
	}
}

// TestEveryRecordOnce walks random logs, full of ties and repeated or missing ids, with random page sizes, in both orders.
func TestEveryRecordOnce(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := New(frozen(Config{}))
		var added []string
		for i := range 60 {
			ms := r.IntN(10)
			id := fmt.Sprintf(`"activity_id": "%d", `, r.IntN(3))
			if r.IntN(4) == 0 {
				id = ""
			}
			raw := fmt.Sprintf(`{%s"n": "%d", "ts": %q}`, id, i, stamp(epoch.Add(-time.Hour+time.Duration(ms)*time.Millisecond)))
			s.Add(Activity, json.RawMessage(raw))
			added = append(added, fmt.Sprint(i))
		}
		for _, order := range []string{"ts:asc", "ts:desc"} {
			var got []string
			params := append(between(epoch.Add(-time.Hour), epoch), "sort="+order, fmt.Sprintf("limit=%d", 1+r.IntN(7)))
			cursor := ""
			for more := true; more; {
				p := params
				if cursor != "" {
					p = append(p[:len(p):len(p)], "next_offset="+cursor)
				}
				body := ask(s, Activity, p...).Body.Bytes()
				var page struct {
					Response struct{ Items []struct{ N string } }
				}
				if err := json.Unmarshal(body, &page); err != nil {
					t.Fatal(err)
				}
				for _, item := range page.Response.Items {
					got = append(got, item.N)
				}
				cursor = decode(t, body).cursor
				more = cursor != ""
			}
			slices.Sort(got)
			slices.Sort(added)
			if diff := cmp.Diff(added, got); diff != "" {
				t.Fatalf("seed %d, %s (-added +served):\n%s", seed, order, diff)
			}
		}
	}
}

// TestShapes writes the same page in all ways that have been seen.
func TestShapes(t *testing.T) {
	at := epoch.Add(-time.Hour)
	const ms = "1773476813000"
	auth := json.RawMessage(`{"txid":"x1", "timestamp": 1773476813}`)
	call := json.RawMessage(`{"telephony_id": "x2", "ts": "2026-03-14T08:26:53+00:00"}`)
	tests := []struct {
		name, log string
		config    Config
		window    []string
		want      string
	}{
		{"authentication", Authentication, Config{}, between(at, epoch),
			`{"response": {"authlogs": [{"txid":"x1", "timestamp": 1773476813}], "metadata": {"next_offset": ["` + ms + `", "x1"], "total_objects": 1}}, "stat": "OK"}`},
		{"telephony", Telephony, Config{}, between(at, epoch),
			`{"response": {"items": [` + string(call) + `], "metadata": {"next_offset": "` + ms + `,x2", "total_objects": 1}}, "stat": "OK"}`},
		{"metadata beside the response", Telephony, Config{MetadataBeside: true}, between(at, epoch),
			`{"response": {"items": [` + string(call) + `]}, "metadata": {"next_offset": "` + ms + `,x2", "total_objects": 1}, "stat": "OK"}`},
		{"total as an object", Telephony, Config{TotalAsObject: true}, between(at.Add(1e9), epoch),
			`{"response": {"items": [], "metadata": {"next_offset": null, "total_objects": {"relation": "eq", "value": 0}}}, "stat": "OK"}`},
		{"end as null", Authentication, Config{}, between(at.Add(1e9), epoch),
			`{"response": {"authlogs": [], "metadata": {"next_offset": null, "total_objects": 0}}, "stat": "OK"}`},
		{"end as empty text", Activity, Config{OffsetEnd: "empty"}, between(at, epoch),
			`{"response": {"items": [], "metadata": {"next_offset": "", "total_objects": 0}}, "stat": "OK"}`},
		{"end as a list", Activity, Config{OffsetEnd: "list"}, between(at, epoch),
			`{"response": {"items": [], "metadata": {"next_offset": [], "total_objects": 0}}, "stat": "OK"}`},
		{"end left out", Activity, Config{OffsetEnd: "missing"}, between(at, epoch),
			`{"response": {"items": [], "metadata": {"total_objects": 0}}, "stat": "OK"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(frozen(test.config))
			s.Add(Authentication, auth)
			s.Add(Telephony, call)
			if diff := cmp.Diff(test.want, ask(s, test.log, test.window...).Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVisibility moves the clock and asserts which records show when.
func TestVisibility(t *testing.T) {
	now := epoch
	s := New(Config{Now: func() time.Time { return now }, MaxSkew: -1})
	s.Add(Activity, event("young", epoch))
	s.AddAt(Activity, epoch.Add(10*time.Minute), event("late", epoch.Add(-time.Minute)))
	s.AddAt(Activity, epoch.Add(time.Minute), event("late but young", epoch.Add(time.Millisecond)))
	steps := []struct {
		after time.Duration
		want  []string
	}{
		{0, []string{}},
		{2*time.Minute - time.Millisecond, []string{}},
		{2 * time.Minute, []string{"young"}},
		{2*time.Minute + time.Millisecond, []string{"young", "late but young"}},
		{10*time.Minute - 1, []string{"young", "late but young"}},
		{10 * time.Minute, []string{"late", "young", "late but young"}},
	}
	window := append(between(epoch.Add(-time.Hour), epoch.Add(time.Hour)), "sort=ts:asc")
	for _, step := range steps {
		now = epoch.Add(step.after)
		if diff := cmp.Diff(step.want, decode(t, ask(s, Activity, window...).Body.Bytes()).ids); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", step.after, diff)
		}
		if got := s.Len(Activity); got != 3 {
			t.Errorf("after %v: Len = %d, want 3 whether shown or not", step.after, got)
		}
		if diff := cmp.Diff([]string{"late", "young", "late but young"}, s.IDs(Activity)); diff != "" {
			t.Errorf("after %v: IDs (-want +got):\n%s", step.after, diff)
		}
	}
}

func TestReadsTimeAndID(t *testing.T) {
	tests := []struct {
		name, record string
		want         cursor
	}{
		{"microseconds", `{"txid": "x", "isotimestamp": "2020-08-17T13:43:58.335969+00:00", "timestamp": 1}`, cursor{ms: 1597671838335, id: "x"}},
		{"an offset", `{"isotimestamp": "2020-08-17T15:43:58+02:00", "txid": "x"}`, cursor{ms: 1597671838000, id: "x"}},
		{"spaces in the time", `{"isotimestamp": "2021-07-20T11: 41: 31+00: 00"}`, cursor{ms: 1626781291000}},
		{"neither T nor zone", `{"isotimestamp": "2022-12-14 20:09:57"}`, cursor{ms: 1671048597000}},
		{"timestamp only", `{"timestamp": 1597671838}`, cursor{ms: 1597671838000}},
		{"timestamp as text", `{"timestamp": "1597671838", "isotimestamp": null}`, cursor{ms: 1597671838000}},
		{"no time", `{"txid": "x"}`, cursor{ms: epoch.UnixMilli(), id: "x"}},
		{"only the first level counts", `{"a": {"txid": "no"}, "b": [{"txid": "no"}, "}\"]"], "txid" : "x" }`, cursor{ms: epoch.UnixMilli(), id: "x"}},
		{"empty", `{}`, cursor{ms: epoch.UnixMilli()}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := kindOf(pathOf(Authentication)).read(json.RawMessage(test.record), epoch)
			if diff := cmp.Diff(test.want, got.cursor, cmp.AllowUnexported(cursor{})); diff != "" {
				t.Errorf("place (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakesPanic(t *testing.T) {
	s := New(Config{})
	tests := map[string]func(){
		"unknown log":       func() { s.Add("sso") },
		"fault of no log":   func() { s.Fault(Fault{Log: "sso"}) },
		"generator":         func() { NewGenerator("sso", 1, Options{}) },
		"not an object":     func() { s.Add(Activity, json.RawMessage(`[]`)) },
		"an object cut off": func() { s.Add(Activity, json.RawMessage(`{"a": {"b": "c"`)) },
		"offset end":        func() { New(Config{OffsetEnd: "none"}) },
		"budget kind":       func() { New(Config{BudgetKind: "leaky"}) },
		"status retired":    func() { s.Retire(Activity, 500) },
	}
	for name, mistake := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "duotest: ") {
					t.Errorf("panic %q, want one that begins with duotest", got)
				}
			}()
			mistake()
		})
	}
}

func TestKeepDropsTheOldest(t *testing.T) {
	s := New(frozen(Config{Keep: 100}))
	for i := range 1000 {
		s.Add(Activity, event(fmt.Sprintf("%04d", i), epoch.Add(time.Duration(i-2000)*time.Second)))
	}
	ids := s.IDs(Activity)
	if n := len(ids); n < 100 || n > 113 || ids[n-1] != "0999" {
		t.Errorf("%d records up to %s, want 100 to 112 up to 0999", n, ids[n-1])
	}
}

// TestAddWhileServing is for the race detector.
func TestAddWhileServing(t *testing.T) {
	s := New(frozen(Config{}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			s.Add(Activity, event(fmt.Sprint(i), epoch.Add(-time.Duration(3000+i*7919%2000)*time.Second)))
		}
	}()
	window := append(between(epoch.Add(-2*time.Hour), epoch), "sort=ts:asc", "limit=1000")
	for range 50 {
		if w := ask(s, Activity, window...); w.Code != http.StatusOK {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	}
	<-done
	if got := len(slices.Concat(walk(t, s, Activity, window...)...)); got != 2000 {
		t.Errorf("served %d records, want 2000", got)
	}
}

func BenchmarkAdd(b *testing.B) {
	records := NewRecords(Authentication, 1, epoch.Add(-time.Hour), epoch, 1000)
	for b.Loop() {
		New(Config{}).Add(Authentication, records...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
}

func BenchmarkPage(b *testing.B) {
	s := New(frozen(Config{Delay: -1}))
	s.Add(Authentication, NewRecords(Authentication, 1, epoch.Add(-time.Hour), epoch, 50_000)...)
	params := append(between(epoch.Add(-time.Hour), epoch), "limit=1000", "sort=ts:asc", fmt.Sprint("next_offset=", epoch.Add(-time.Minute*30).UnixMilli(), ",0"))
	for b.Loop() {
		if w := ask(s, Authentication, params...); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
