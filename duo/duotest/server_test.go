package duotest

import (
	"crypto/sha1"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSignatureVector serves the published request of signature version 2, with either digest.
func TestSignatureVector(t *testing.T) {
	const (
		ikey  = "DIWJ8X6AEYOR5OMC6TQ1"
		skey  = "Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep"
		host  = "api-xxxxxxxx.duosecurity.com"
		date  = "Tue, 21 Aug 2012 17:29:18 -0000"
		query = "limit=1000&maxtime=1532951965000&mintime=1532951960000" +
			"&next_offset=1532951920000%2Cb40ba235-0b33-23c8-bc23-a31aa0231db4&sort=ts%3Aasc"
	)
	signatures := map[string]string{
		"sha1": "9a75443039d6fa7dcad84993bf59c60c507a2326",
		"sha512": "89f3e7408a441f34a2199e1f9ad041dfdeb322aef6a147abc91ea4332675dd5a" +
			"7528d26776a9be21c3975d5505db7ff9bf9945a7c049c2c92fbc557a3082e1bc",
	}
	for name, signature := range signatures {
		t.Run(name, func(t *testing.T) {
			now := time.UnixMilli(1532951965000)
			s := New(Config{IntegrationKey: ikey, SecretKey: skey, MaxSkew: -1, Now: func() time.Time { return now }})
			r := httptest.NewRequest("GET", "https://"+strings.ToUpper(host)+"/admin/v2/logs/authentication?"+query, nil)
			r.Header.Set("Date", date)
			r.Header.Set("Authorization", basic(ikey, signature))
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			if got := s.Calls()[0].Signature; got != name {
				t.Errorf("Call.Signature = %q, want %q", got, name)
			}
		})
	}
}

// TestRefusals sends requests of which one thing each is wrong.
func TestRefusals(t *testing.T) {
	target := "https://" + testHost + "/admin/v2/logs/activity"
	window := between(epoch.Add(-time.Hour), epoch)
	request := func(change func(*http.Request)) *http.Request {
		r := signed(epoch, sha512.New, target, values(window...))
		change(r)
		return r
	}
	late := func(d time.Duration) *http.Request {
		return signed(epoch.Add(d), sha512.New, target, values(window...))
	}
	tests := []struct {
		name    string
		request *http.Request
		config  Config
		want    string // status and code
		detail  string // part of message_detail
	}{
		{name: "well signed", request: late(0), want: "200 0"},
		{name: "signed with SHA-1", request: signed(epoch, sha1.New, target, values(window...)), want: "200 0"},
		{name: "Date in GMT is another text than the one signed",
			request: request(func(r *http.Request) { r.Header.Set("Date", epoch.Format(http.TimeFormat)) }), want: "401 40103"},
		{name: "no credentials", request: request(func(r *http.Request) { r.Header.Del("Authorization") }), want: "401 40101"},
		{name: "credentials that are not base64", request: request(func(r *http.Request) { r.Header.Set("Authorization", "Basic %") }), want: "401 40101"},
		{name: "another integration key", request: request(func(r *http.Request) { r.Header.Set("Authorization", basic("DIOTHER", "00")) }), want: "401 40102"},
		{name: "another secret", request: late(0), config: Config{SecretKey: "another"}, want: "401 40103"},
		{name: "another host", request: late(0), config: Config{Host: testHost + ":8443"}, want: "401 40103"},
		{name: "host from the configuration", request: request(func(r *http.Request) { r.Host = "10.0.0.1" }), config: Config{Host: testHost}, want: "200 0"},
		{name: "a parameter that was not signed", request: request(func(r *http.Request) { r.URL.RawQuery += "&sort=ts%3Aasc" }), want: "401 40103"},
		{name: "parameters in another order", request: request(func(r *http.Request) { r.URL.RawQuery = window[0] + "&" + window[1] }),
			want: "401 40103", detail: "The query sent is"},
		{name: "Date five minutes behind", request: late(-5 * time.Minute), want: "200 0"},
		{name: "Date more than five minutes behind", request: late(-301 * time.Second), want: "401 40103", detail: "off by -5m1s"},
		{name: "Date more than five minutes ahead", request: late(301 * time.Second), want: "401 40103", detail: "off by 5m1s"},
		{name: "skew not looked at", request: late(24 * time.Hour), config: Config{MaxSkew: -1}, want: "200 0"},
		{name: "unknown path", request: signed(epoch, sha512.New, target+"s", nil), want: "404 40401"},
		{name: "POST", request: request(func(r *http.Request) { r.Method = "POST" }), want: "405 40501"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(frozen(test.config))
			w := httptest.NewRecorder()
			s.ServeHTTP(w, test.request)
			got, detail := outcome(t, w)
			if got != test.want || !strings.Contains(detail, test.detail) {
				t.Errorf("got %s, detail %q; want %s, detail with %q", got, detail, test.want, test.detail)
			}
			if got, want := w.Header().Get("Date"), "Sat, 14 Mar 2026 09:26:53 GMT"; got != want {
				t.Errorf("Date = %q, want %q", got, want)
			}
		})
	}
}

// outcome returns "status code" and message_detail of an answer.
func outcome(t *testing.T, w *httptest.ResponseRecorder) (string, string) {
	t.Helper()
	var body struct {
		Code   int
		Detail string `json:"message_detail"`
		Stat   string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	if want := map[bool]string{true: "OK", false: "FAIL"}[w.Code == http.StatusOK]; body.Stat != want {
		t.Errorf("status %d with stat %q, want %q", w.Code, body.Stat, want)
	}
	return fmt.Sprintf("%d %d", w.Code, body.Code), body.Detail
}

func TestParameters(t *testing.T) {
	day := 24 * time.Hour
	hour := between(epoch.Add(-time.Hour), epoch)
	tests := []struct {
		name   string
		params []string
		detail string // of a 400; empty: served
	}{
		{"a window", hour, ""},
		{"no mintime", hour[1:], "mintime: missing"},
		{"no maxtime", hour[:1], "maxtime: missing"},
		{"equal bounds", between(epoch, epoch), "must be less than maxtime"},
		{"swapped bounds", between(epoch, epoch.Add(-time.Second)), "must be less than maxtime"},
		{"exactly 180 days", between(epoch.Add(-180*day), epoch), ""},
		{"a millisecond more than 180 days", between(epoch.Add(-180*day-time.Millisecond), epoch), "within the last 180 days"},
		{"seconds", []string{"mintime=1773478013", "maxtime=1773481613"}, "must be a time in milliseconds"},
		{"microseconds", []string{"mintime=1773478013000000", "maxtime=1773481613000000"}, "must be a time in milliseconds"},
		{"a fraction", []string{"mintime=1773478013000.5", "maxtime=1773481613000"}, "must be a time in milliseconds"},
		{"maxtime in the future", between(epoch.Add(-time.Hour), epoch.Add(day)), ""},
		{"limit 1", append(hour, "limit=1"), ""},
		{"limit 1000", append(hour, "limit=1000"), ""},
		{"limit 1001", append(hour, "limit=1001"), "must be from 1 to 1000"},
		{"limit 0", append(hour, "limit=0"), "must be from 1 to 1000"},
		{"limit in words", append(hour, "limit=all"), "must be from 1 to 1000"},
		{"ascending", append(hour, "sort=ts:asc"), ""},
		{"descending", append(hour, "sort=ts:desc"), ""},
		{"another order", append(hour, "sort=asc"), "must be ts:asc or ts:desc"},
		{"a value with a space", append(hour, "users=one two"), ""},
		{"a parameter twice", append(hour, "limit=1", "limit=2"), "given 2 times"},
		{"a cursor", append(hour, "next_offset=1773480000000,some-id"), ""},
		{"a cursor as a list", append(hour, `next_offset=["1773480000000","some-id"]`), "want <milliseconds>,<id>"},
		{"a cursor without an id", append(hour, "next_offset=1773480000000"), "want <milliseconds>,<id>"},
		{"a cursor with an empty id", append(hour, "next_offset=1773480000000,"), "want <milliseconds>,<id>"},
		{"a cursor without a time", append(hour, "next_offset=some-id,1773480000000"), "want <milliseconds>,<id>"},
		{"a cursor that is empty", append(hour, "next_offset="), "want <milliseconds>,<id>"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, detail := outcome(t, ask(New(frozen(Config{})), Telephony, test.params...))
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

func TestPermissionAndKeysChange(t *testing.T) {
	s := New(frozen(Config{}))
	window := between(epoch.Add(-time.Hour), epoch)
	var got []string
	step := func() {
		for _, log := range []string{Activity, Telephony} {
			o, _ := outcome(t, ask(s, log, window...))
			got = append(got, o)
		}
	}
	s.SetPermission(Activity, false)
	step()
	s.SetPermission(Activity, true)
	step()
	s.SetKeys(IntegrationKey, "rotated")
	step()
	s.SetKeys("DIROTATED", SecretKey)
	step()
	want := []string{"403 40301", "200 0", "200 0", "200 0", "401 40103", "401 40103", "401 40102", "401 40102"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

func TestCallsAreRemembered(t *testing.T) {
	var seen []Call
	s := New(frozen(Config{OnCall: func(c Call) { seen = append(seen, c) }}))
	s.Add(Activity, event("a", epoch.Add(-time.Hour)), event("b", epoch.Add(-time.Hour)))
	s.Fault(Fault{Kind: FaultHTML, Log: Activity, Skip: 1})
	window := between(epoch.Add(-2*time.Hour), epoch)
	for range 2 {
		ask(s, Activity, window...)
	}
	ask(s, Telephony)
	ask(s, "/elsewhere")

	for i := range seen {
		seen[i].Query, seen[i].Path = "", ""
	}
	want := []Call{
		{At: epoch, Host: testHost, Log: Activity, Signature: "sha512", Status: 200, Records: 2},
		{At: epoch, Host: testHost, Log: Activity, Signature: "sha512", Status: 502, Fault: FaultHTML},
		{At: epoch, Host: testHost, Log: Telephony, Signature: "sha512", Status: 400, Code: 40002},
		{At: epoch, Host: testHost, Signature: "sha512", Status: 404, Code: 40401},
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if got, want := s.Calls()[0].Param("mintime"), window[0]; "mintime="+got != want {
		t.Errorf("mintime=%s, want %s", got, want)
	}
	if diff := cmp.Diff(Counts{Calls: 2, Records: 2, Status: map[int]int{200: 1, 502: 1}}, s.Count(Activity)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := history{counts: map[string]Counts{}}
	s := &Server{}
	for i := range historySize + 7 {
		h.add(Call{Status: i})
	}
	s.history = h
	calls := s.Calls()
	if len(calls) != historySize || calls[0].Status != 7 || calls[historySize-1].Status != historySize+6 {
		t.Errorf("%d calls from %d to %d, want %d from 7 on", len(calls), calls[0].Status, calls[len(calls)-1].Status, historySize)
	}
	if got := s.Count("").Calls; got != historySize+7 {
		t.Errorf("counted %d calls, want %d", got, historySize+7)
	}
}
