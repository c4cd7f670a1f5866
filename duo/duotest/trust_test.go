package duotest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// surfaced returns a small event of trust_monitor.
func surfaced(id string, at time.Time) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"sekey": %q, "surfaced_timestamp": %d}`, id, at.UnixMilli()))
}

// trustPage is a page of trust_monitor as a client sees it.
type trustPage struct {
	ids    []string
	offset any // next_offset, nil at the end
}

func askTrust(t *testing.T, s *Server, params ...string) trustPage {
	t.Helper()
	var page struct {
		Stat     string
		Response struct {
			Events   []struct{ Sekey string }
			Metadata struct {
				NextOffset any `json:"next_offset"`
			}
		}
	}
	body := ask(s, TrustMonitor, params...).Body.Bytes()
	if err := json.Unmarshal(body, &page); err != nil || page.Stat != "OK" {
		t.Fatalf("not a page: %v: %.300s", err, body)
	}
	p := trustPage{ids: []string{}, offset: page.Response.Metadata.NextOffset}
	for _, e := range page.Response.Events {
		p.ids = append(p.ids, e.Sekey)
	}
	return p
}

// walkTrust follows next_offset to the end and returns the ids of each page.
func walkTrust(t *testing.T, s *Server, params ...string) (pages [][]string) {
	t.Helper()
	page := askTrust(t, s, params...)
	for range 100 {
		pages = append(pages, page.ids)
		if page.offset == nil || page.offset == "" {
			return pages
		}
		page = askTrust(t, s, append(slices.Clone(params), fmt.Sprint("offset=", page.offset))...)
	}
	t.Fatal("a walk of 100 pages did not end")
	return nil
}

// TestPositions walks windows of trust_monitor and asserts what each page holds.
func TestPositions(t *testing.T) {
	at := func(ms int) time.Time { return epoch.Add(-time.Hour + time.Duration(ms)*time.Millisecond) }
	window := between(at(10), at(30))
	with := func(params ...string) []string { return append(slices.Clone(window), params...) }
	tests := []struct {
		name   string
		config Config
		params []string
		want   [][]string
	}{
		{name: "bounds are inclusive, and the last page says so", params: window, want: [][]string{{"b", "c", "d", "e"}}},
		{name: "pages", params: with("limit=3"), want: [][]string{{"b", "c", "d"}, {"e"}}},
		{name: "a page that ends where the window does", params: with("limit=2"), want: [][]string{{"b", "c"}, {"d", "e"}}},
		{name: "newest first", config: Config{TrustNewest: true}, params: with("limit=3"), want: [][]string{{"e", "d", "c"}, {"b"}}},
		{name: "offsets of text", config: Config{TrustText: true}, params: with("limit=1"), want: [][]string{{"b"}, {"c"}, {"d"}, {"e"}}},
		{name: "an end of empty text", config: Config{OffsetEnd: "empty"}, params: with("limit=2"), want: [][]string{{"b", "c"}, {"d", "e"}}},
		{name: "pages capped lower than asked", config: Config{PageCap: 3}, params: window, want: [][]string{{"b", "c", "d"}, {"e"}}},
		{name: "no sort parameter", params: with("sort=ts:desc"), want: [][]string{{"b", "c", "d", "e"}}},
		{name: "next_offset is no parameter", params: with("next_offset=2"), want: [][]string{{"b", "c", "d", "e"}}},
		{name: "an offset behind the end", params: with("offset=9"), want: [][]string{{}}},
		{name: "younger than the delay", params: between(at(31), epoch), want: [][]string{{"f"}}},
		{name: "no delay", config: Config{Delay: -1}, params: between(at(31), epoch), want: [][]string{{"f", "g"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(frozen(test.config))
			s.Add(TrustMonitor, surfaced("e", at(30)), surfaced("b", at(10)), surfaced("a", at(9)), surfaced("d", at(20)), surfaced("c", at(20)),
				surfaced("f", at(31)), surfaced("g", epoch.Add(-time.Minute)))
			if diff := cmp.Diff(test.want, walkTrust(t, s, test.params...)); diff != "" {
				t.Errorf("pages (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPositionsMove files an event between two pages, before what was read.
func TestPositionsMove(t *testing.T) {
	s := New(frozen(Config{}))
	at := epoch.Add(-time.Hour)
	s.Add(TrustMonitor, surfaced("b", at), surfaced("c", at), surfaced("d", at))
	window := append(between(at, epoch), "limit=2")
	first := askTrust(t, s, window...)
	s.Add(TrustMonitor, surfaced("a", at))
	second := askTrust(t, s, append(window, fmt.Sprint("offset=", first.offset))...)
	if diff := cmp.Diff([][]string{{"b", "c"}, {"c", "d"}}, [][]string{first.ids, second.ids}); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

// TestPositionalFaults makes trust_monitor give back the offset that it was sent, and forget it.
func TestPositionalFaults(t *testing.T) {
	at := epoch.Add(-time.Hour)
	window := append(between(at, epoch), "limit=1")
	for kind, want := range map[FaultKind][]trustPage{
		FaultSameOffset: {{[]string{"a"}, 1.0}, {[]string{"b"}, 1.0}},
		FaultRewind:     {{[]string{"a"}, 1.0}, {[]string{"a"}, 1.0}},
	} {
		s := New(frozen(Config{}))
		s.Add(TrustMonitor, surfaced("a", at), surfaced("b", at), surfaced("c", at))
		s.Fault(Fault{Kind: kind, Log: TrustMonitor})
		got := []trustPage{askTrust(t, s, window...), askTrust(t, s, append(window, "offset=1")...)}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(trustPage{})); diff != "" {
			t.Errorf("%s: pages (-want +got):\n%s", kind, diff)
		}
	}
}

func TestPositionalParameters(t *testing.T) {
	hour := between(epoch.Add(-time.Hour), epoch)
	tests := []struct {
		name   string
		config Config
		params []string
		detail string // of a 400; empty: served
	}{
		{name: "a window", params: hour},
		{name: "no maxtime", params: hour[:1], detail: "maxtime: missing"},
		{name: "equal bounds", params: between(epoch, epoch), detail: "must be less than maxtime"},
		{name: "seconds", params: []string{"mintime=1773478013", "maxtime=1773481613"}, detail: "must be a time in milliseconds"},
		{name: "older than 180 days", params: between(epoch.Add(-181*24*time.Hour), epoch), detail: "within the last 180 days"},
		{name: "limit 200", params: append(hour, "limit=200")},
		{name: "limit 201", params: append(hour, "limit=201"), detail: "must be from 1 to 200"},
		{name: "an offset", params: append(hour, "offset=0")},
		{name: "a negative offset", params: append(hour, "offset=-1"), detail: "must be a next_offset of this log"},
		{name: "an offset of another log", params: append(hour, "offset=1773480000000,some-id"), detail: "must be a next_offset of this log"},
		{name: "text where numbers are", params: append(hour, "offset=position:1"), detail: "must be a next_offset of this log"},
		{name: "a number where text is", config: Config{TrustText: true}, params: append(hour, "offset=1"), detail: "must be a next_offset of this log"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, detail := outcome(t, ask(New(frozen(test.config)), TrustMonitor, test.params...))
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

// TestPositionalShape writes pages in the ways that have been seen, and holds one to the default limit.
func TestPositionalShape(t *testing.T) {
	at := epoch.Add(-time.Hour)
	const one = `{"sekey": "a", "surfaced_timestamp": 1773476813000}`
	tests := []struct {
		name   string
		config Config
		limit  string
		want   string
	}{
		{"more follows", Config{}, "limit=1", `{"response": {"events": [` + one + `], "metadata": {"next_offset": 1}}, "stat": "OK"}`},
		{"as text", Config{TrustText: true}, "limit=1", `{"response": {"events": [` + one + `], "metadata": {"next_offset": "position:1"}}, "stat": "OK"}`},
		{"the end", Config{}, "limit=2", `{"response": {"events": [` + one + `, ` + one + `], "metadata": {}}, "stat": "OK"}`},
		{"the end as null", Config{OffsetEnd: "null"}, "limit=2", `{"response": {"events": [` + one + `, ` + one + `], "metadata": {"next_offset": null}}, "stat": "OK"}`},
		{"metadata beside", Config{MetadataBeside: true}, "limit=1", `{"response": {"events": [` + one + `]}, "metadata": {"next_offset": 1}, "stat": "OK"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(frozen(test.config))
			s.Add(TrustMonitor, json.RawMessage(one), json.RawMessage(one))
			if diff := cmp.Diff(test.want, ask(s, TrustMonitor, append(between(at, epoch), test.limit)...).Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
	s := New(frozen(Config{}))
	s.Add(TrustMonitor, NewRecords(TrustMonitor, 1, at, epoch.Add(-time.Minute*2), 60)...)
	if p := askTrust(t, s, between(at, epoch)...); len(p.ids) != 50 || p.offset != 50.0 {
		t.Errorf("%d events and next_offset %v, want 50 and 50", len(p.ids), p.offset)
	}
}
