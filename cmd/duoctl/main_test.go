package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	duoapi "github.com/duosecurity/duo_api_golang"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"duoctl": main})
}

// TestScripts runs the program as a process, once for each script in testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:      "testdata/script",
		Deadline: time.Now().Add(10 * time.Minute), // a server that should have refused to start is ended
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", "atexit_sleep_ms=0") // a race detector would wait for a second at the end of each program
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await,
			"call":  call,
			"list":  listAccounts,
			"ready": ready,
			// status2 and fails run duoctl, which must end with status 2 or 1 and say so on stderr: fails PATTERN ARG...
			"status2": func(ts *testscript.TestScript, _ bool, args []string) { failing(ts, 2, args) },
			"fails":   func(ts *testscript.TestScript, _ bool, args []string) { failing(ts, 1, args) },
		},
	})
}

// awaitLimit is when what has not come is taken not to come, however busy the machine is.
const awaitLimit = 2 * time.Minute

// await waits for a file: await FILE.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	deadline := time.Now().Add(awaitLimit)
	for {
		_, err := os.Stat(ts.MkAbs(args[0]))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %v: %v", awaitLimit, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// ready sets the variables that a ready file has: ready READY-FILE.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready READY-FILE")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		ts.Setenv(name, value)
	}
}

// failing runs duoctl with args[1:] and asserts its status and that stderr matches args[0].
func failing(ts *testscript.TestScript, status int, args []string) {
	err := ts.Exec("duoctl", args[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status {
		ts.Fatalf("duoctl %q: %v, want exit status %d", args[1:], err, status)
	}
	if stderr := ts.ReadFile("stderr"); !regexp.MustCompile(args[0]).MatchString(stderr) {
		ts.Fatalf("duoctl %q: stderr %q, want a match of %q", args[1:], stderr, args[0])
	}
}

// call asks a server for the last hours of a log with Duo's own client, and prints the answer, of a long one the beginning
// and the end: call READY-FILE LOG HOURS [ACCOUNT]. The host of a child account is that of the Accounts API's list.
func call(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: call READY-FILE LOG HOURS [ACCOUNT]")
	}
	hours, err := time.ParseDuration(args[2] + "h")
	ts.Check(err)
	now := time.Now()
	params := url.Values{
		"mintime": {fmt.Sprint(now.Add(-hours).UnixMilli())},
		"maxtime": {fmt.Sprint(now.UnixMilli())},
		"limit":   {"1000"},
		"sort":    {"ts:asc"},
	}
	host := ""
	if len(args) == 4 {
		host = children(ts, args[0])[args[3]]
		params.Set("account_id", args[3])
	}
	_, body, err := client(ts, args[0], host).SignedCall(http.MethodGet, "/admin/v2/logs/"+args[1], params)
	ts.Check(err)
	if len(body) > 2000 {
		body = slices.Concat(body[:1800], []byte(" ... "), body[len(body)-200:])
	}
	fmt.Fprintf(ts.Stdout(), "%s\n", body)
}

// listAccounts prints the child accounts with their hosts, a line each: list READY-FILE. Once it has waited for the account to be
// gone: list READY-FILE ACCOUNT.
func listAccounts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: list READY-FILE [ACCOUNT]")
	}
	found := children(ts, args[0])
	for deadline := time.Now().Add(awaitLimit); len(args) == 2 && found[args[1]] != ""; found = children(ts, args[0]) {
		if time.Now().After(deadline) {
			ts.Fatalf("after %v: %s is still there", awaitLimit, args[1])
		}
		<-time.After(10 * time.Millisecond)
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(ts.Stdout(), "%s %s\n", id, found[id])
	}
}

// children asks the Accounts API for the hosts of the child accounts.
func children(ts *testscript.TestScript, readyFile string) map[string]string {
	_, body, err := client(ts, readyFile, "").SignedCall(http.MethodPost, "/accounts/v1/account/list", nil)
	ts.Check(err)
	var answer struct {
		Response []struct {
			ID   string `json:"account_id"`
			Host string `json:"api_hostname"`
		}
	}
	ts.Check(json.Unmarshal(body, &answer))
	hosts := map[string]string{}
	for _, c := range answer.Response {
		hosts[c.ID] = c.Host
	}
	return hosts
}

// client returns Duo's own client for the server of a ready file, or another host of it.
func client(ts *testscript.TestScript, readyFile, host string) *duoapi.DuoApi {
	ready := map[string]string{}
	for line := range strings.Lines(ts.ReadFile(readyFile)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		ready[name] = value
	}
	pem, err := os.ReadFile(ready["DUO_CA_FILE"])
	ts.Check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return duoapi.NewDuoApi(ready["DUO_INTEGRATION_KEY"], ready["DUO_SECRET_KEY"], cmp.Or(host, ready["DUO_API_HOST"]), "duoctl-test",
		duoapi.SetTransport(func(t *http.Transport) { t.TLSClientConfig = &tls.Config{RootCAs: roots} }))
}
