package duotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var v1Logs = []string{Administrator, OfflineEnrollment, TelephonyV1}

// v1Event returns a small record of a v1 log.
func v1Event(n int, at time.Time) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"n": %d, "timestamp": %d}`, n, at.Unix()))
}

// since returns mintime as the v1 logs take it.
func since(t time.Time) string { return "mintime=" + strconv.FormatInt(t.Unix(), 10) }

// numbers returns n of each record of a v1 page.
func numbers(t *testing.T, body []byte) []int {
	t.Helper()
	var page struct {
		Stat     string
		Response []struct{ N int }
	}
	if err := json.Unmarshal(body, &page); err != nil || page.Stat != "OK" {
		t.Fatalf("not a page: %v: %.300s", err, body)
	}
	got := []int{}
	for _, record := range page.Response {
		got = append(got, record.N)
	}
	return got
}

// TestSince asks the v1 logs for what is of a second or later.
func TestSince(t *testing.T) {
	at := func(seconds int) time.Time { return epoch.Add(time.Duration(seconds)*time.Second - time.Hour) }
	tests := []struct {
		name   string
		config Config
		params []string
		want   []int
	}{
		{name: "mintime is inclusive", params: []string{since(at(10))}, want: []int{2, 3, 4, 5, 6}},
		{name: "or exclusive", config: Config{V1Exclusive: true}, params: []string{since(at(10))}, want: []int{4, 5, 6}},
		{name: "a second without records", params: []string{since(at(11))}, want: []int{4, 5, 6}},
		{name: "without mintime", want: []int{1, 2, 3, 4, 5, 6}},
		{name: "the earliest first", config: Config{V1Page: 3}, params: []string{since(at(10))}, want: []int{2, 3, 4}},
		{name: "a page that ends within a second", config: Config{V1Page: 2}, want: []int{1, 2}},
		{name: "listed newest first", config: Config{V1Page: 3, V1Newest: true}, params: []string{since(at(10))}, want: []int{4, 3, 2}},
		{name: "younger than the delay", config: Config{Delay: 30 * time.Minute}, params: []string{since(at(3600))}, want: []int{6}},
		{name: "the future", params: []string{since(at(3601))}, want: []int{}},
		{name: "what other logs take", config: Config{PageCap: 1},
			params: []string{since(at(20)), since(at(0))[3:], "maxtime=0", "limit=1", "sort=ts:desc", "next_offset=1"}, want: []int{4, 5, 6}},
	}
	for _, log := range v1Logs {
		for _, test := range tests {
			t.Run(log+"/"+test.name, func(t *testing.T) {
				s := New(frozen(test.config))
				s.Add(log, v1Event(4, at(20)), v1Event(2, at(10)), v1Event(1, at(0)), v1Event(3, at(10)), v1Event(5, at(21)), v1Event(6, epoch))
				s.Add(log, v1Event(7, epoch.Add(time.Second)))
				if diff := cmp.Diff(test.want, numbers(t, ask(s, log, test.params...).Body.Bytes())); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestSinceShowsAThousand holds a page to its size where a second holds more.
func TestSinceShowsAThousand(t *testing.T) {
	s := New(frozen(Config{}))
	at := epoch.Add(-time.Hour)
	for i := range 1001 {
		s.Add(Administrator, v1Event(i, at))
	}
	s.Add(Administrator, v1Event(1001, at.Add(time.Second)))
	page := numbers(t, ask(s, Administrator, since(at)).Body.Bytes())
	if len(page) != 1000 || page[0] != 0 || page[999] != 999 {
		t.Errorf("%d records from %d to %d, want those from 0 to 999", len(page), page[0], page[len(page)-1])
	}
	if got := s.Count(Administrator).Records; got != 1000 {
		t.Errorf("counted %d records, want 1000", got)
	}
}

func TestSinceParameters(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name   string
		params []string
		detail string // of a 400; empty: served
	}{
		{"nothing", nil, ""},
		{"seconds", []string{since(epoch)}, ""},
		{"milliseconds", between(epoch, epoch)[:1], "must be a time in seconds"},
		{"a fraction", []string{since(epoch) + ".5"}, "must be a time in seconds"},
		{"negative", []string{"mintime=-1"}, "must be a time in seconds"},
		{"empty", []string{"mintime="}, "must be a time in seconds"},
		{"a date", []string{"mintime=2026-03-14"}, "must be a time in seconds"},
		{"exactly 180 days", []string{since(epoch.Add(-180 * day))}, ""},
		{"a second more than 180 days", []string{since(epoch.Add(-180*day - time.Second))}, "within the last 180 days"},
		{"everything", []string{"mintime=0"}, "within the last 180 days"},
		{"twice", []string{since(epoch), since(epoch)}, "given 2 times"},
	}
	for _, log := range v1Logs {
		for _, test := range tests {
			t.Run(log+"/"+test.name, func(t *testing.T) {
				got, detail := outcome(t, ask(New(frozen(Config{})), log, test.params...))
				want := "200 0"
				if test.detail != "" {
					want = "400 40002"
				}
				if got != want || !strings.Contains(detail, test.detail) {
					t.Errorf("got %s, detail %q; want %s, detail with %q", got, detail, want, test.detail)
				}
			})
		}
	}
}

// TestSinceShape writes a page of the v1 logs, whatever is configured for the others, and one of no records.
func TestSinceShape(t *testing.T) {
	s := New(frozen(Config{OffsetEnd: "empty", MetadataBeside: true, TotalAsObject: true}))
	s.Add(TelephonyV1, json.RawMessage(`{"timestamp":1773476813}`), v1Event(1, epoch))
	for mintime, want := range map[string]string{
		"mintime=1773476813": `{"response": [{"timestamp":1773476813}, {"n": 1, "timestamp": 1773480413}], "stat": "OK"}`,
		"mintime=1773480414": `{"response": [], "stat": "OK"}`,
	} {
		if diff := cmp.Diff(want, ask(s, TelephonyV1, mintime).Body.String()); diff != "" {
			t.Errorf("%s: body (-want +got):\n%s", mintime, diff)
		}
	}
}

// TestEqualRecordsCount adds the same record twice, and one late: they have no id, so both are there.
func TestEqualRecordsCount(t *testing.T) {
	now := epoch
	s := New(Config{MaxSkew: -1, Now: func() time.Time { return now }})
	at := epoch.Add(-time.Hour)
	s.Add(Administrator, v1Event(1, at), v1Event(1, at), v1Event(2, at.Add(time.Second)))
	s.AddAt(Administrator, epoch.Add(time.Minute), v1Event(3, at))
	if diff := cmp.Diff([]int{1, 1, 2}, numbers(t, ask(s, Administrator, since(at)).Body.Bytes())); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	now = epoch.Add(time.Minute)
	if diff := cmp.Diff([]int{1, 1, 3, 2}, numbers(t, ask(s, Administrator, since(at)).Body.Bytes())); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	want := []json.RawMessage{v1Event(1, at), v1Event(1, at), v1Event(3, at), v1Event(2, at.Add(time.Second))}
	if diff := cmp.Diff(want, s.Records(Administrator)); diff != "" {
		t.Errorf("Records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "", "", ""}, s.IDs(Administrator)); diff != "" {
		t.Errorf("IDs (-want +got):\n%s", diff)
	}
}

// TestRecordsHoldsAll asserts that Records returns what is held back too, byte for byte and in the order of IDs.
func TestRecordsHoldsAll(t *testing.T) {
	s := New(frozen(Config{}))
	a, b, c := event("a", epoch.Add(-time.Hour)), event("b", epoch), event("c", epoch.Add(-time.Minute))
	s.Add(Activity, b, a)
	s.AddAt(Activity, epoch.Add(time.Hour), c)
	if diff := cmp.Diff([]json.RawMessage{a, c, b}, s.Records(Activity)); diff != "" {
		t.Errorf("Records (-want +got):\n%s", diff)
	}
	if got := s.Records(TelephonyV1); len(got) != 0 {
		t.Errorf("an empty log holds %q", got)
	}
}

// TestRetire ends each log and brings it back, and asserts that the others are untouched.
func TestRetire(t *testing.T) {
	for _, k := range kinds {
		s := New(frozen(Config{}))
		params := between(epoch.Add(-time.Hour), epoch)
		if k.list == "" {
			params = []string{since(epoch)}
		}
		var got []string
		for _, status := range []int{http.StatusNotFound, http.StatusGone, http.StatusForbidden, 0} {
			s.Retire(k.name, status)
			answer, _ := outcome(t, ask(s, k.name, params...))
			got = append(got, answer)
		}
		s.Retire(k.name, http.StatusNotFound)
		for _, other := range Logs() {
			answer, _ := outcome(t, ask(s, other, between(epoch.Add(-time.Hour), epoch)...))
			if want := map[bool]string{true: "404 40401", false: "200 0"}[other == k.name]; answer != want {
				t.Errorf("%s retired: %s answers %s, want %s", k.name, other, answer, want)
			}
		}
		if diff := cmp.Diff([]string{"404 40401", "410 41001", "403 40301", "200 0"}, got); diff != "" {
			t.Errorf("%s: answers (-want +got):\n%s", k.name, diff)
		}
	}
}

// TestPublishedExpressions matches generated records with the expressions that a published guide has for the logs of its
// time, once they are in one line as Duo's own client forwards them.
func TestPublishedExpressions(t *testing.T) {
	tests := []struct {
		log, expression string
		fields          int
	}{
		{Administrator, `{"action":"?([^",]+)"?,"description":"{(.+)?}","isotimestamp":"?([^",\+]+).+"?,"object":"?([^",]+)"?.+username":"?([^",]+)"?,"eventtype":"?([^",]+)"?.+`, 6},
		{TelephonyV1, `{"context":"?([^",]+)"?,.+isotimestamp":"?([^",\+]+).+"?,"phone":"?([^",]+)"?.+"type":"?([^",]+)"?,"eventtype":"?([^",]+)"?.+`, 5},
	}
	for _, test := range tests {
		expression := regexp.MustCompile(test.expression)
		for _, raw := range NewRecords(test.log, 1, epoch.Add(-time.Hour), epoch, 1000) {
			var line bytes.Buffer
			if err := json.Compact(&line, raw); err != nil {
				t.Fatal(err)
			}
			line.Truncate(line.Len() - 1)
			line.WriteString(`,"eventtype":"` + test.log + `","host":"x"}`)
			match := expression.FindStringSubmatch(line.String())
			if len(match) != test.fields+1 || match[test.fields] != test.log || slices.Contains(match, "") {
				t.Fatalf("%s: fields %q of %s", test.log, match, &line)
			}
		}
	}
}

// TestEqualRecordsAreMade asserts that a quirk makes equal records within a second, and that nothing else does.
func TestEqualRecordsAreMade(t *testing.T) {
	for _, log := range v1Logs {
		for _, test := range []struct {
			quirks float64
			want   bool
		}{{0, false}, {1, true}} {
			seen := map[string]bool{}
			again := 0
			for _, raw := range NewGenerator(log, 1, Options{Quirks: test.quirks}).Spread(epoch, epoch, 2000) {
				if seen[string(raw)] {
					again++
				}
				seen[string(raw)] = true
			}
			if again > 0 != test.want {
				t.Errorf("%s with quirks %v: %d records of one second equal another, want some: %t", log, test.quirks, again, test.want)
			}
		}
	}
}
