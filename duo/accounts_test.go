package duo

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHost(t *testing.T) {
	for _, tc := range []struct{ value, want, problem string }{
		{"api-0a1b2c3d.duosecurity.com", "api-0a1b2c3d.duosecurity.com", ""},
		{"https://API-0A1B2C3D.duofederal.com//", "api-0a1b2c3d.duofederal.com", ""},
		{"gateway.example.com:8443", "gateway.example.com:8443", ""},
		{"[2001:DB8::1]:8443", "[2001:db8::1]:8443", ""},
		{"http://api-0a1b2c3d.duosecurity.com", "", "http is not spoken, only https"},
		{"", "", "this is not a host name"},
		{"https://", "", "this is not a host name"},
		{"api-1.duosecurity.com/admin", "", "this is not a host name"},
		{"user@api-1.duosecurity.com", "", "this is not a host name"},
		{"api-1.duosecurity.com?x", "", "this is not a host name"},
		{"2001:db8::1", "", "this is not a host name"},
		{"admin-1.duosecurity.com", "", "this is not an API host of Duo's"},
		{"gateway.example.com:0", "", `the port "0" is not a number from 1 to 65535`},
	} {
		got, err := ParseHost(tc.value)
		if problem := strings.TrimPrefix(fmt.Sprint(err), "<nil>"); got != tc.want || problem != tc.problem {
			t.Errorf("%q: got %q and %q, want %q and %q", tc.value, got, problem, tc.want, tc.problem)
		}
	}
}

// listOf is a list as Duo answers it, of these entries.
func listOf(entries ...string) string {
	return `{"response": [` + strings.Join(entries, ", ") + `], "stat": "OK"}`
}

func TestParseAccounts(t *testing.T) {
	const (
		duos    = "api-00000000.duosecurity.com"
		gateway = "gateway.example.com:8443"
		own     = "this is not one of Duo's, as api_host is, and the signature does not go to others"
	)
	for _, tc := range []struct {
		name, parent, body string
		want               []string // id, name and host, or what is odd
	}{
		{"none", duos, listOf(), nil},
		{"several", duos, listOf(
			`{"account_id": "DA1", "api_hostname": "api-1.duosecurity.com", "name": "Example \"A\""}`,
			`{"account_id": "DA2", "api_hostname": "https://API-2.duofederal.com/", "name": null, "new": [1]}`,
			`{"account_id": "DA3", "api_hostname": "api-3.duosecurity.com:443", "name": 3}`,
		), []string{`DA1 Example "A" api-1.duosecurity.com`, "DA2  api-2.duofederal.com", "DA3  api-3.duosecurity.com:443"}},
		{"twice", duos, listOf(
			`{"account_id": "DA1", "api_hostname": "api-1.duosecurity.com"}`, `{"account_id": "DA1", "api_hostname": "api-2.duosecurity.com"}`,
		), []string{"DA1  api-1.duosecurity.com"}},
		{"odd ones", duos, listOf(
			`{"account_id": "../self", "api_hostname": "api-1.duosecurity.com"}`, `{"api_hostname": "api-1.duosecurity.com"}`, `7`, `null`,
			`{"account_id": "DA1"}`, `{"account_id": "DA2", "api_hostname": "http://api-1.duosecurity.com"}`,
			`{"account_id": "DA3", "api_hostname": "api-1.duosecurity.com"}`,
		), []string{
			`odd: entry 1: account_id "../self" is not made of at most 32 letters and digits`, `odd: entry 2: account_id "" is not made of at most 32 letters and digits`,
			"odd: entry 3: it is not an object whose account_id and api_hostname are text",
			`odd: entry 4: account_id "" is not made of at most 32 letters and digits`,
			`DA1 odd: account DA1: api_hostname "": this is not a host name`,
			`DA2 odd: account DA2: api_hostname "http://api-1.duosecurity.com": http is not spoken, only https`,
			"DA3  api-1.duosecurity.com",
		}},
		{"foreign hosts", duos, listOf(
			`{"account_id": "DA1", "api_hostname": "api-1.duosecurity.com.example.com"}`, `{"account_id": "DA2", "api_hostname": "127.0.0.1:8443"}`,
		), []string{
			`DA1 odd: account DA1: api_hostname "api-1.duosecurity.com.example.com": ` + own, `DA2 odd: account DA2: api_hostname "127.0.0.1:8443": ` + own,
		}},
		{"a gateway's", gateway, listOf(
			`{"account_id": "DA1", "api_hostname": "gateway.example.com:8444"}`, `{"account_id": "DA2", "api_hostname": "api-1.duosecurity.com"}`,
		), []string{"DA1  gateway.example.com:8444", "DA2  api-1.duosecurity.com"}},
		{"no response", duos, `{"stat": "OK"}`, []string{"error: the answer is not a list of accounts: it has no response"}},
		{"another response", duos, `{"response": {}, "stat": "OK"}`, []string{"error: the answer is not a list of accounts: json: cannot unmarshal object into Go struct field .response of type []json.RawMessage"}},
		{"too many", duos, listOf(strings.Split(strings.Repeat("{} ", maxAccounts)+"{}", " ")...), []string{"error: the answer is not a list of accounts: it has 10001 entries, more than the 10000 that are allowed for"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			accounts, err := parseAccounts([]byte(tc.body), tc.parent)
			var got []string
			for _, a := range accounts {
				if a.Odd != nil {
					got = append(got, strings.TrimSpace(fmt.Sprint(a.ID, " odd: ", a.Odd)))
				} else {
					got = append(got, a.ID+" "+a.Name+" "+a.Host)
				}
			}
			if err != nil {
				got = append(got, "error: "+err.Error())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestBodiesHaveALength: the library's own requests would be sent in chunks.
func TestBodiesHaveALength(t *testing.T) {
	for _, account := range []string{"", "DA1"} {
		c := fakeClient(func(r *http.Request) (*http.Response, error) {
			body := ""
			if r.Body != nil {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				body = string(b)
			}
			want := ""
			if account != "" {
				want = "account_id=" + account
			}
			if body != want || r.ContentLength != int64(len(want)) || (want == "" && r.Body != http.NoBody) {
				t.Errorf("%s with a body %q of length %d, want %q", r.Method, body, r.ContentLength, want)
			}
			return response(r, http.StatusOK, listOf()), nil
		})
		c.account = account
		if got, err := c.Accounts(t.Context()); err != nil || len(got) > 0 {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// TestDiagnoseList: the causes that have another remedy here than with a log.
func TestDiagnoseList(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&APIError{Status: 403, Code: 40301, Message: "Access forbidden"}, "Accounts API application"},
		{&APIError{Status: 404, Code: 40401, Message: "Resource not found"}, "Accounts API application"},
		{&APIError{Status: 401, Code: 40102}, "check integration_key"},
		{&RateLimitError{}, "HTTP 429"},
		{fmt.Errorf("%w: it has no response", errNotList), "cannot be used: the answer is not a list"},
		{ErrTooLarge, "cannot be used: the answer is larger"},
		{fmt.Errorf("%w: %s", errNotList, strings.Repeat("x", 1<<20)), "xxx ..."},
		{errors.New("connection refused"), "Duo cannot be reached"},
	} {
		if got := diagnoseList(tc.err).line(); len(got) > 2*maxText || !strings.Contains(got, tc.want) || strings.Contains(got, "option logs") || strings.Contains(got, "fewer records") {
			t.Errorf("%.500v: %.2000q, want %q in it", tc.err, got, tc.want)
		}
	}
}
