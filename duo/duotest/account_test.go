package duotest

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// provider returns a server with children a, b, … at api-a.duosecurity.com, api-b.duosecurity.com, …
func provider(config Config, children ...string) *Server {
	s := New(frozen(config))
	for _, id := range children {
		s.AddChild(Child{ID: id, Name: "Customer " + id, Host: hostOf(id)})
	}
	return s
}

func hostOf(id string) string { return "api-" + id + ".duosecurity.com" }

// askAt is ask at another host than the parent's.
func askAt(s *Server, host, log string, params ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, signed(epoch, sha512.New, "https://"+host+pathOf(log), values(params...)))
	return w
}

// post returns a well-signed POST, whose parameters stand in the body as a browser writes them, with a plus for a space.
func post(now time.Time, host, path string, params url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://"+host+path, strings.NewReader(params.Encode()))
	r.RequestURI = "" // so that an http.Client sends it too
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	date := now.UTC().Format(time.RFC1123Z)
	mac := hmac.New(sha1.New, []byte(SecretKey))
	fmt.Fprintf(mac, "%s\nPOST\n%s\n%s\n%s", date, host, path, strings.ReplaceAll(params.Encode(), "+", "%20"))
	r.Header.Set("Date", date)
	r.Header.Set("Authorization", basic(IntegrationKey, hex.EncodeToString(mac.Sum(nil))))
	return r
}

// listed returns the body that the list answers with.
func listed(t *testing.T, s *Server) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, post(epoch, testHost, accountList, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("list: status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestPostSignatureVector serves the published POST of signature version 2, in either form that a body may have.
func TestPostSignatureVector(t *testing.T) {
	const (
		ikey      = "DIWJ8X6AEYOR5OMC6TQ1"
		skey      = "Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep"
		signature = "2d97d6166319781b5a3a07af39d366f491234edc"
	)
	tests := []struct {
		name, query, body string
		want              string // status and code
	}{
		{"a plus", "", "realname=First+Last&username=root", "200 0"},
		{"%20", "", "realname=First%20Last&username=root", "200 0"},
		{"another order", "", "username=root&realname=First+Last", "401 40103"},
		{"another value", "", "realname=First+Last&username=toor", "401 40103"},
		{"nothing", "", "", "401 40103"},
		{"in the query", "realname=First%20Last&username=root", "", "401 40103"},
		{"more in the query", "account_id=a", "realname=First+Last&username=root", "401 40103"},
		{"broken at the end", "", "realname=First+Last&username=root&%zz", "401 40103"},
		{"too large", "", "realname=First+Last&username=root" + strings.Repeat("&", maxForm), "401 40103"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(frozen(Config{IntegrationKey: ikey, SecretKey: skey, MaxSkew: -1}))
			r := httptest.NewRequest("POST", "https://api-xxxxxxxx.duosecurity.com"+accountList+"?"+test.query, strings.NewReader(test.body))
			r.Header.Set("Date", "Tue, 21 Aug 2012 17:29:18 -0000")
			r.Header.Set("Authorization", basic(ikey, signature))
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if got, detail := outcome(t, w); got != test.want {
				t.Errorf("got %s, %s; want %s", got, detail, test.want)
			}
		})
	}
}

func TestAccountList(t *testing.T) {
	s := New(frozen(Config{Budget: 1}))
	got := []string{listed(t, s)}
	s.AddChild(Child{ID: "a", Name: `Customer "a"`, Host: hostOf("a")})
	s.AddChild(Child{ID: "b", Host: "127.0.0.1:43211"})
	got = append(got, listed(t, s))
	s.RemoveChild("a")
	s.RemoveChild("a")
	got = append(got, listed(t, s))
	second := `{"account_id": "b", "api_hostname": "127.0.0.1:43211", "name": ""}`
	want := []string{
		`{"response": [], "stat": "OK"}`,
		`{"response": [{"account_id": "a", "api_hostname": "api-a.duosecurity.com", "name": "Customer \"a\""}, ` + second + `], "stat": "OK"}`,
		`{"response": [` + second + `], "stat": "OK"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	if s.Child("a") != nil || s.Child("b").Host != "127.0.0.1:43211" {
		t.Errorf("children %v and %v, want none and the second", s.Child("a"), s.Child("b"))
	}
	if n := s.Count(""); n.Calls != 3 || n.Records != 0 {
		t.Errorf("counts %+v, want 3 calls without records", n)
	}
}

// TestAddresses asserts which calls a parent with children a and b, and c that is gone, answers at which host, whether or
// not the configuration names the parent's.
func TestAddresses(t *testing.T) {
	t.Run("without Host", func(t *testing.T) { testAddresses(t, Config{}) })
	t.Run("with Host", func(t *testing.T) { testAddresses(t, Config{Host: testHost}) })
}

func testAddresses(t *testing.T, config Config) {
	hour := between(epoch.Add(-time.Hour), epoch)
	get := func(host string, params ...string) *http.Request {
		return signed(epoch, sha512.New, "https://"+host+pathOf(Activity), values(append(hour, params...)...))
	}
	list := func(host string, params ...string) *http.Request {
		return post(epoch, host, accountList, values(params...))
	}
	capitals := get(hostOf("a"), "account_id=a")
	capitals.Host = strings.ToUpper(capitals.Host)
	tests := []struct {
		name    string
		request *http.Request
		want    string // status, code and, of a mistake of the client, astray
		detail  string // part of message_detail
	}{
		{"the parent's own", get(testHost), "200 0", ""},
		{"a child", get(hostOf("a"), "account_id=a"), "200 0", ""},
		{"a child, host in capitals", capitals, "200 0", ""},
		{"a child at its parent's host", get(testHost, "account_id=a"), "403 40301 astray", "does not belong to this host"},
		{"a child at another's host", get(hostOf("b"), "account_id=a"), "403 40301 astray", "does not belong to this host"},
		{"a child's host without account_id", get(hostOf("a")), "403 40301 astray", "does not belong to this host"},
		{"a child's host with an unknown account_id", get(hostOf("a"), "account_id=x"), "403 40301 astray", "no account"},
		{"a child's host and account_id twice", get(hostOf("a"), "account_id=a", "account_id=b"), "400 40002", "given 2 times"},
		{"a child that is gone", get(hostOf("c"), "account_id=c"), "403 40301", "no account"},
		{"a child that is gone, at a child's host", get(hostOf("a"), "account_id=c"), "403 40301 astray", "no account"},
		{"the list", list(testHost), "200 0", ""},
		{"the list at a child's host", list(hostOf("a")), "403 40301 astray", "does not belong to this host"},
		{"the list of a child", list(hostOf("a"), "account_id=a"), "403 40301", "A child has no children"},
		{"the list of a child at its parent's host", list(testHost, "account_id=a"), "403 40301 astray", "does not belong to this host"},
		{"the list, as a GET", signed(epoch, sha512.New, "https://"+testHost+accountList, nil), "405 40501", ""},
		{"another path", post(epoch, testHost, "/accounts/v1/account/create", nil), "404 40401", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := provider(config, "a", "b", "c")
			s.RemoveChild("c")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, test.request)
			got, detail := outcome(t, w)
			call := s.Calls()[0]
			if call.Astray {
				got += " astray"
			}
			if got != test.want || !strings.Contains(detail, test.detail) {
				t.Errorf("got %s, detail %q; want %s, detail with %q", got, detail, test.want, test.detail)
			}
			if id := call.Param("account_id"); call.Host != test.request.Host || call.Account != id {
				t.Errorf("call at %q for %q, want %q and %q", call.Host, call.Account, test.request.Host, id)
			}
		})
	}
}

// TestChildrenAreApart asserts that records, permissions, budgets and counts are each account's own.
func TestChildrenAreApart(t *testing.T) {
	s := provider(Config{Budget: 2}, "a", "b", "c")
	a, b, c := s.Child("a"), s.Child("b"), s.Child("c")
	at := epoch.Add(-time.Hour)
	s.Add(Activity, event("own", at))
	a.Add(Activity, event("a1", at), event("a2", at))
	a.AddAt(Activity, epoch.Add(time.Hour), event("a-late", at))
	b.Add(Activity, event("b1", at))
	b.SetPermission(Telephony, false)
	c.SetPermissions(false)

	window := between(epoch.Add(-2*time.Hour), epoch)
	got := map[string][]string{}
	for range 3 {
		for _, id := range []string{"", "a", "b", "c"} {
			host, params := testHost, window
			if id != "" {
				host, params = hostOf(id), append(window[:2:2], "account_id="+id)
			}
			w := askAt(s, host, Activity, params...)
			answer, _ := outcome(t, w)
			if w.Code == http.StatusOK {
				answer = fmt.Sprint(decode(t, w.Body.Bytes()).ids)
			}
			got[id] = append(got[id], answer)
		}
	}
	want := map[string][]string{
		"":  {"[own]", "[own]", "429 42901"},
		"a": {"[a2 a1]", "[a2 a1]", "429 42901"},
		"b": {"[b1]", "[b1]", "429 42901"},
		"c": {"403 40301", "403 40301", "403 40301"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if o, _ := outcome(t, askAt(s, hostOf("b"), Telephony, append(window, "account_id=b")...)); o != "403 40301" {
		t.Errorf("a log that is forbidden answers %s", o)
	}

	if diff := cmp.Diff([]string{"a-late", "a1", "a2"}, a.IDs(Activity)); diff != "" || a.Len(Activity) != 3 || s.Len(Activity) != 1 {
		t.Errorf("%d and %d records, want 3 and 1; ids (-want +got):\n%s", a.Len(Activity), s.Len(Activity), diff)
	}
	served := Counts{Calls: 3, Records: 4, Status: map[int]int{200: 2, 429: 1}}
	if diff := cmp.Diff(served, a.Count(Activity)); diff != "" {
		t.Errorf("counts of a child (-want +got):\n%s", diff)
	}
	if own, all := s.Account.Count(Activity), s.Count(Activity); own.Records != 2 || all.Records != 8 || all.Calls != 12 {
		t.Errorf("the parent's counts %+v, all %+v; want 2 records, 8 records in 12 calls", own, all)
	}
	if n, own, all := len(b.Calls()), len(s.Account.Calls()), len(s.Calls()); n != 4 || own != 3 || all != 13 {
		t.Errorf("%d calls for a child, %d for the parent, %d in all; want 4, 3, 13", n, own, all)
	}
}

// TestChildComesBack asserts that a child that was removed keeps what it held, and has it when it comes back.
func TestChildComesBack(t *testing.T) {
	s := provider(Config{}, "a")
	old := s.Child("a")
	old.Add(Activity, event("a1", epoch.Add(-time.Hour)))
	s.RemoveChild("a")
	old.Add(Activity, event("a2", epoch.Add(-30*time.Minute)))
	again := s.AddChild(Child{ID: "a", Host: hostOf("other")})
	old.Add(Activity, event("a3", epoch.Add(-20*time.Minute)))
	if old.Len(Activity) != 3 || again.Len(Activity) != 3 || old.Host == again.Host {
		t.Errorf("%d and %d records at %s and %s; want 3 and 3 at two hosts", old.Len(Activity), again.Len(Activity), old.Host, again.Host)
	}
	params := append(between(epoch.Add(-2*time.Hour), epoch), "account_id=a")
	if w := askAt(s, hostOf("other"), Activity, params...); w.Code != http.StatusOK || len(decode(t, w.Body.Bytes()).ids) != 3 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestAddChildRefuses(t *testing.T) {
	for name, c := range map[string]Child{
		"no id":        {Host: "h"},
		"no host":      {ID: "i"},
		"a taken id":   {ID: "a", Host: "h"},
		"a taken host": {ID: "i", Host: "API-a.duosecurity.com"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("AddChild did not panic")
				}
			}()
			provider(Config{}, "a").AddChild(c)
		})
	}
}

// TestPipeServesAnyHost adds children while the listener runs, at hosts that no certificate of the package knows.
func TestPipeServesAnyHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		pipe := s.Pipe()
		defer pipe.Close()
		c := client(pipe.Serving, func(tr *http.Transport) { tr.DialContext = pipe.DialContext })
		defer c.CloseIdleConnections()
		for _, host := range []string{hostOf("a"), "child.example.com", "192.0.2.7:8443", "[2001:db8::7]:8443"} {
			child := s.AddChild(Child{ID: host, Host: host})
			child.Add(Activity, event("at "+host, time.Now().Add(-time.Hour)))
			params := values(append(between(time.Now().Add(-2*time.Hour), time.Now()), "account_id="+host)...)
			r := fetch(c, signed(time.Now(), sha512.New, "https://"+host+pathOf(Activity), params))
			if r.err != nil || r.status != http.StatusOK {
				t.Fatalf("%s: status %d, %v: %s", host, r.status, r.err, r.body)
			}
			if diff := cmp.Diff([]string{"at " + host}, decode(t, r.body).ids); diff != "" {
				t.Errorf("%s: ids (-want +got):\n%s", host, diff)
			}
		}
		if r := fetch(c, post(time.Now(), testHost, accountList, nil)); r.status != http.StatusOK || strings.Count(string(r.body), "api_hostname") != 4 {
			t.Errorf("list: status %d, %v: %s", r.status, r.err, r.body)
		}
	})
}

// TestChildrenListen gives 50 children sockets of their own while calls come in, takes them away, and looks for what is left.
func TestChildrenListen(t *testing.T) {
	const children = 50
	before := runtime.NumGoroutine()
	s := New(Config{})
	running := s.StartTLS()
	defer running.Close()
	c := client(running.Serving, nil)
	read := func(a *Account) reply {
		now := time.Now()
		params := values(append(between(now.Add(-time.Hour), now), "account_id="+a.ID)...)
		return fetch(c, signed(now, sha512.New, "https://"+a.Host+pathOf(Telephony), params))
	}
	var hosts []string
	var mu sync.Mutex
	var calls sync.WaitGroup
	for i := range children {
		calls.Go(func() {
			a, err := running.AddChild(Child{ID: fmt.Sprint("child-", i)})
			if err != nil {
				t.Error(err)
				return
			}
			if r := read(a); r.err != nil || r.status != http.StatusOK {
				t.Errorf("%s at %s: status %d, %v: %s", a.ID, a.Host, r.status, r.err, r.body)
			}
			if i%2 == 0 {
				running.RemoveChild(a.ID)
			}
			mu.Lock()
			defer mu.Unlock()
			hosts = append(hosts, a.Host)
		})
	}
	calls.Wait()
	if r := fetch(c, post(time.Now(), running.Addr, accountList, nil)); strings.Count(string(r.body), "api_hostname") != children/2 {
		t.Errorf("list: %v: %s; want %d children", r.err, r.body, children/2)
	}
	running.Close()
	running.RemoveChild("child-1")
	c.CloseIdleConnections()
	for _, host := range append(hosts, running.Addr) {
		if accepts(running.Serving, host) {
			t.Errorf("%s accepts connections", host)
		}
	}
	if _, err := running.AddChild(Child{ID: "late"}); err == nil {
		t.Error("a closed server takes children")
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines run, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestChildrenListenWhereToldTo asks for names and ports.
func TestChildrenListenWhereToldTo(t *testing.T) {
	running := New(Config{}).StartTLS()
	defer running.Close()
	a, err := running.AddChild(Child{ID: "a", Host: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	if name, port, _ := net.SplitHostPort(a.Host); name != "localhost" || port == "0" {
		t.Errorf("host %q, want localhost with a port", a.Host)
	}
	for host, want := range map[string]string{
		a.Host:        "add child b: listen tcp 127.0.0.1:",
		"example.com": "add child b: host: address example.com: missing port in address",
	} {
		if _, err := running.AddChild(Child{ID: "b", Host: host}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("at %s: error %v, want %s", host, err, want)
		}
	}
	for range 10 {
		running.RemoveChild("a")
		again, err := running.AddChild(a.Child)
		if err == nil && again.Host == a.Host {
			return
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("%v, %v; want the same host again", again, err)
		}
		// Another process may have been given the port: with another one, then.
		if a, err = running.AddChild(Child{ID: "a", Host: "localhost:0"}); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("no port could be had again")
}
