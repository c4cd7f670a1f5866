package duo

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzRefusal has whatever an HTTP server may answer become a page, or an error
// whose line is short and whose wait is neither negative nor for ever.
func FuzzRefusal(f *testing.F) {
	f.Add(500, "text/html", "Wed, 01 May 2024 12:00:00 GMT", "", "/x", []byte("<html>"))
	f.Add(429, "", "yesterday", "9223372037", "", []byte(`{"stat":"FAIL","code":42901}`))
	f.Add(200, "application/json", "", "-1", "https://user:pw@x/", []byte(`{"stat":"FAIL","code":"40103","message":{"a":[1]},"message_detail":null}`))
	f.Add(302, ";", "Wed, 01 May 0000 12:00:00 GMT", "1e9", "//x?y", []byte(`{"code":1e999999,"stat":1,"stat":"FAIL"}`))
	f.Add(307, "", "", "", "https://user:pw@a/%zz\x99", []byte("moved"))
	f.Add(200, "", "", "", "", []byte(` {"response":{"items":[]},"a":"FAIL"}`))
	f.Fuzz(func(t *testing.T, status int, kind, date, retry, location string, body []byte) {
		if status < 200 || status > 999 {
			return
		}
		c := fakeClient(func(r *http.Request) (*http.Response, error) {
			resp := response(r, status, string(body))
			resp.Header = http.Header{"Content-Type": {kind}, "Date": {date}, "Retry-After": {retry}, "Location": {location}}
			return resp, nil
		})
		a, err := get(c)
		if err == nil {
			if status != 200 || len(a.Body) != len(body) {
				t.Errorf("status %d: a body of %d bytes out of %d", status, len(a.Body), len(body))
			}
			_, _ = ParsePage(logs[0], a.Body)
			return
		}
		d := diagnose(err, source{log: logs[0]})
		if d.wait < 0 || d.wait > time.Hour || d.line() == "" || len(d.line()) > 4*maxText {
			t.Errorf("wait %v, a line of %d bytes: %.200s", d.wait, len(d.line()), d.line())
		}
		if strings.Contains(d.line(), testSecret) {
			t.Errorf("the secret is in %q", d.line())
		}
	})
}

// FuzzAccounts has whatever Duo may answer for a list of accounts become one: ids
// that are safe as parts of paths and come once, hosts that may be signed for.
func FuzzAccounts(f *testing.F) {
	for _, s := range []string{
		`{"stat":"OK","response":[{"account_id":"DA01","name":"a","api_hostname":"api-00000001.duosecurity.com"},{"account_id":"DA01"},{}]}`,
		`{"response":[{"account_id":"../x","api_hostname":"https://api-1.duosecurity.com/"},{"account_id":"DA02","api_hostname":"evil.example.com"},1,null]}`,
		`{"response":null}`, `[]`, ``,
	} {
		f.Add([]byte(s), "api-00000000.duosecurity.com")
		f.Add([]byte(s), "127.0.0.1:8443")
	}
	f.Fuzz(func(t *testing.T, body []byte, parent string) {
		accounts, err := parseAccounts(body, parent)
		if err != nil && !errors.Is(err, errNotList) {
			t.Errorf("error %v", err)
		}
		known := map[string]bool{}
		for _, a := range accounts {
			switch {
			case a.ID == "" && a.Odd == nil, a.ID != "" && !AccountID.MatchString(a.ID), a.ID != "" && known[a.ID]:
				t.Errorf("account %+v", a)
			case a.Odd == nil && IsOwnHost(parent) && !IsOwnHost(a.Host):
				t.Errorf("the signature would go to %q", a.Host)
			}
			known[a.ID] = true
		}
	})
}

// FuzzParseHost has whatever somebody pastes for a host become one that a URL has
// as its host alone, and that reads the same again.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"api-00000000.duosecurity.com", "https://API-1.duosecurity.com/", "localhost:443", "[::1]:8443", "a@b", "a/b", "a:0", "-", "1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		host, err := ParseHost(v)
		if err != nil {
			return
		}
		if again, err := ParseHost(host); again != host || err != nil {
			t.Errorf("%q became %q, and that %q (%v)", v, host, again, err)
		}
		if r, err := http.NewRequest("GET", "https://"+host+"/x", nil); err != nil || r.URL.Host != host || r.URL.User != nil || r.URL.Path != "/x" {
			t.Errorf("%q became %q (%v)", v, host, err)
		}
	})
}
