package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
		Deadline: time.Now().Add(time.Minute), // a server that should have refused to start is ended
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await,
			"call":  call,
			// status2 and fails run duoctl, which must end with status 2 or 1 and say so on stderr: fails PATTERN ARG...
			"status2": func(ts *testscript.TestScript, _ bool, args []string) { failing(ts, 2, args) },
			"fails":   func(ts *testscript.TestScript, _ bool, args []string) { failing(ts, 1, args) },
		},
	})
}

// await waits for a file: await FILE.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := os.Stat(ts.MkAbs(args[0]))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after 20 s: %v", err)
		}
		<-time.After(10 * time.Millisecond)
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
// and the end: call READY-FILE LOG HOURS.
func call(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: call READY-FILE LOG HOURS")
	}
	ready := map[string]string{}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		ready[name] = value
	}
	pem, err := os.ReadFile(ready["DUO_CA_FILE"])
	ts.Check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	hours, err := time.ParseDuration(args[2] + "h")
	ts.Check(err)
	now := time.Now()
	client := duoapi.NewDuoApi(ready["DUO_INTEGRATION_KEY"], ready["DUO_SECRET_KEY"], ready["DUO_API_HOST"], "duoctl-test",
		duoapi.SetTransport(func(t *http.Transport) { t.TLSClientConfig = &tls.Config{RootCAs: roots} }))
	_, body, err := client.SignedCall(http.MethodGet, "/admin/v2/logs/"+args[1], url.Values{
		"mintime": {fmt.Sprint(now.Add(-hours).UnixMilli())},
		"maxtime": {fmt.Sprint(now.UnixMilli())},
		"limit":   {"1000"},
		"sort":    {"ts:asc"},
	})
	ts.Check(err)
	if len(body) > 2000 {
		body = slices.Concat(body[:1800], []byte(" ... "), body[len(body)-200:])
	}
	fmt.Fprintf(ts.Stdout(), "%s\n", body)
}
