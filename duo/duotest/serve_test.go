package duotest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzServe has whatever a client may ask be answered in Duo's way: no panic, a
// status, and JSON.
func FuzzServe(f *testing.F) {
	f.Add("GET", "/admin/v2/logs/authentication", "limit=3&maxtime=2&mintime=1&next_offset=1%2Ca&sort=ts%3Aasc", "Basic eDp5", "Tue, 21 Aug 2012 17:29:18 -0000", "")
	f.Add("GET", "/admin/v1/logs/administrator", "mintime=-9223372036854775808", "", "", "")
	f.Add("GET", "/admin/v1/trust_monitor/events", "limit=1e9&offset=-1", "Basic !", "now", "")
	f.Add("POST", "/accounts/v1/account/list", "%zz", "Basic", "", "a=b+c")
	f.Add("GET", "/admin/v2/logs/activity", "limit=99999999999999999999&limit=0&next_offset=,", "x", "", "")
	s := New(Config{})
	for _, log := range Logs() {
		s.Add(log, NewRecords(log, 1, validFrom, validUntil, 3)...)
	}
	f.Fuzz(func(t *testing.T, method, path, query, authorization, date, body string) {
		if method == "" || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return
		}
		r := httptest.NewRequest(method, "https://api-00000000.duosecurity.com/", strings.NewReader(body))
		r.URL = &url.URL{Path: path, RawQuery: query}
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Date", date)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 || w.Code == http.StatusOK || !strings.Contains(w.Body.String(), `"FAIL"`) {
			t.Errorf("%s %s?%s unsigned: %d %s", method, path, query, w.Code, w.Body)
		}
	})
}

// FuzzWindow is FuzzServe for the parameters of a call that is signed.
func FuzzWindow(f *testing.F) {
	for i := range kinds {
		f.Add(i, "1", "2", "3", "1,a")
		f.Add(i, "-9223372036854775808", "9223372036854775807", "0", ",")
		f.Add(i, "1e3", "", "99999999999999999999", "-1")
	}
	s := New(Config{})
	for _, k := range kinds {
		s.Add(k.name, NewRecords(k.name, 1, validFrom, validUntil, 3)...)
	}
	f.Fuzz(func(t *testing.T, n int, from, to, limit, offset string) {
		k := kinds[uint(n)%uint(len(kinds))]
		w, bad := k.parseWindow(url.Values{"mintime": {from}, "maxtime": {to}, "limit": {limit}, k.offset: {offset}, "sort": {"ts:asc"}}, validUntil, s.config)
		if bad != nil {
			return
		}
		page := s.journals[k.name].read(w, s.config)
		if len(page.records) > 3 || len(page.body(k, s.config)) == 0 {
			t.Errorf("%d records", len(page.records))
		}
	})
}
