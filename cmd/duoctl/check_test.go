package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/duo/duotest"
)

// bench is a simulated Duo with a configuration that fits it.
type bench struct {
	t       *testing.T
	server  *duotest.Server
	running *duotest.Running
	dir     string
	set     map[string]string // of the [INPUT]; "" for none
	rest    string            // behind the [INPUT]
	ctx     context.Context
}

func newBench(t *testing.T, c duotest.Config) *bench {
	t.Helper()
	s := duotest.New(c)
	running := s.StartTLS()
	t.Cleanup(running.Close)
	dir := t.TempDir()
	ca, err := running.CAFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, server: s, running: running, dir: dir, ctx: context.Background(), set: map[string]string{
		"name": "duo", "tag": "duo", "storage.type": "filesystem", "api_host": running.Addr, "integration_key": duotest.IntegrationKey,
		"secret_key": duotest.SecretKey, "ca_file": ca, "timeout": "20s", "checkpoint_dir": filepath.Join(dir, "state"), "logs": "authentication, activity",
	}, rest: "[OUTPUT]\n    name stdout\n    match *\n    retry_limit no_limits\n"}
}

// check runs the check and returns what it says in both forms, which must not show a secret.
func (b *bench) check() *checker {
	b.t.Helper()
	var conf strings.Builder
	fmt.Fprintf(&conf, "[SERVICE]\n    storage.path %s/state/storage\n[INPUT]\n", b.dir)
	for key, value := range b.set {
		if value != "" {
			fmt.Fprintf(&conf, "    %s %s\n", key, value)
		}
	}
	path := filepath.Join(b.dir, "fluent-bit.conf")
	if err := os.WriteFile(path, []byte(conf.String()+b.rest), 0o600); err != nil {
		b.t.Fatal(err)
	}
	c := &checker{ctx: b.ctx}
	c.checkFile(path)
	var asJSON strings.Builder
	err := c.report(&asJSON, true)
	var read struct {
		OK     bool
		Failed int
		Inputs []*checked
	}
	if e := json.Unmarshal([]byte(asJSON.String()), &read); e != nil || read.OK != (err == nil) || read.Failed != c.count(resultFail) {
		b.t.Errorf("JSON %v, ok %v, %d failed; error %v", e, read.OK, read.Failed, err)
	}
	for _, said := range []string{asJSON.String(), c.text(), fmt.Sprint(err), fmt.Sprintf("%+v %#v", c.inputs[0], *c.inputs[0])} {
		if strings.Contains(said, "hunter2") {
			b.t.Errorf("a proxy's password in %s", said)
		}
		if strings.Contains(said, duotest.SecretKey) || strings.Contains(said, "wrong-secret") {
			b.t.Errorf("the secret key in %s", said)
		}
		if strings.ContainsAny(said, "\x1b\r") {
			b.t.Errorf("a control character in %q", said)
		}
	}
	return c
}

// results are the lines without their texts: "keys fail".
func results(c *checker) (lines []string) {
	for _, in := range c.inputs {
		for _, f := range in.Checks {
			if f.Text == "" {
				lines = append(lines, "no text: "+f.Check)
			}
			lines = append(lines, f.subject()+" "+string(f.Result))
		}
	}
	return lines
}

// says returns the texts of the lines with this result.
func says(c *checker, r verdict) string {
	var b strings.Builder
	for _, in := range c.inputs {
		for _, f := range in.Checks {
			if f.Result == r {
				fmt.Fprintf(&b, "%s: %s\n", f.subject(), f.Text)
			}
		}
	}
	return b.String()
}

// The lines of a way that is free, and of what does not depend on it.
var (
	freeWay = []string{"name ok", "connection ok", "certificate ok"}
	around  = []string{"checkpoints ok", "storage ok", "outputs ok"}
)

func TestCheckFindsAllWell(t *testing.T) {
	b := newBench(t, duotest.Config{})
	c := b.check()
	want := slices.Concat([]string{"configuration ok", "configuration warn"}, freeWay,
		[]string{"clock ok", "keys ok", "authentication ok", "activity ok"}, around)
	if diff := cmp.Diff(want, results(c)); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, c.text())
	}
	calls := b.server.Calls()
	if len(calls) != 2 || calls[0].Param("limit") != "1" || calls[0].UserAgent != agent {
		t.Errorf("calls %+v, want one for each log, of one record", calls)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "state")); err == nil {
		t.Error("the check has made the checkpoint folder")
	}
}

// answeringProxy is a proxy that answers a CONNECT with connect.
func answeringProxy(t *testing.T, connect http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(connect)
	t.Cleanup(s.Close)
	return "http://user:hunter2@" + s.Listener.Addr().String()
}

// Whatever goes wrong on the way to an answer, the line that it belongs to says so, with what to do, those behind it say that
// they are skipped, and nothing shows a secret.
func TestCheckFaults(t *testing.T) {
	every := func(f duotest.Fault) func(*testing.T, *bench) {
		return func(_ *testing.T, b *bench) { f.N = -1; b.server.Fault(f) }
	}
	set := func(key, value string) func(*testing.T, *bench) {
		return func(_ *testing.T, b *bench) { b.set[key] = value }
	}
	proxied := func(connect http.HandlerFunc) func(*testing.T, *bench) {
		return func(t *testing.T, b *bench) { b.set["proxy"] = answeringProxy(t, connect) }
	}
	refusing := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	noName := []string{"name fail", "connection skipped", "certificate skipped", "clock skipped", "keys skipped", "authentication skipped", "activity skipped"}
	noWay := append([]string{"name ok", "connection fail"}, noName[2:]...)
	noTrust := append([]string{"name ok", "connection ok", "certificate fail"}, noName[3:]...)
	behind := func(lines ...string) []string { return append(slices.Clone(freeWay), lines...) }
	for _, tt := range []struct {
		name    string
		config  duotest.Config
		prepare func(*testing.T, *bench)
		want    []string
		says    string // in a line that FAILs
		warns   string // in one that warns
	}{
		{"no such name", duotest.Config{}, func(_ *testing.T, b *bench) { b.set["api_host"], b.set["timeout"] = "duo.invalid", "1s" }, noName, "Duo cannot be reached", ""},
		{"nobody there", duotest.Config{}, set("api_host", "127.0.0.1:1"), noWay, "connection refused; check api_host, and whether a firewall", ""},
		{"no such proxy", duotest.Config{}, set("proxy", "http://user:hunter2@127.0.0.1:1"), noWay, "check the proxy", ""},
		{"proxy wants a password", duotest.Config{}, proxied(refusing(407)), noWay, "give user and password in the option proxy", ""},
		{"proxy does not let through", duotest.Config{}, proxied(refusing(403)), noWay, "the proxy refuses to connect (HTTP 403", ""},
		{"proxy hangs", duotest.Config{}, func(t *testing.T, b *bench) {
			b.set["timeout"] = "4s"
			b.set["proxy"] = answeringProxy(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, noWay, "a proxy that hangs", ""},
		{"proxy inspects TLS", duotest.Config{}, func(t *testing.T, b *bench) {
			between := httptest.NewUnstartedServer(nil)
			between.Config.ErrorLog = log.New(io.Discard, "", 0)
			between.StartTLS()
			t.Cleanup(between.Close)
			b.set["proxy"] = answeringProxy(t, duotest.Tunnel(between.Listener.Addr().String()))
		}, noTrust, "name its root certificate in ca_file", ""},
		{"proxy lets through", duotest.Config{}, proxied(duotest.Tunnel("")), behind("clock ok", "keys ok", "authentication ok", "activity ok"), "", ""},
		{"unknown root", duotest.Config{}, set("ca_file", ""), noTrust, `issued by "CN=duotest CA"`, ""},
		{"captive portal", duotest.Config{}, func(t *testing.T, b *bench) {
			portal := httptest.NewServer(http.RedirectHandler("http://login.example.com/", http.StatusFound))
			t.Cleanup(portal.Close)
			b.set["api_host"] = portal.Listener.Addr().String()
		}, noTrust, "TLS 1.2 or newer", ""},
		{"silence behind the connection", duotest.Config{}, func(t *testing.T, b *bench) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() }) // nobody accepts
			b.set["api_host"], b.set["timeout"] = l.Addr().String(), "4s"
		}, noTrust, "no answer within 4s", ""},

		{"hang", duotest.Config{}, func(_ *testing.T, b *bench) {
			b.set["timeout"] = "4s"
			b.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
		},
			behind("clock skipped", "keys skipped", "authentication fail", "activity skipped"), "no answer within 4s", ""},
		{"reset", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultReset}),
			behind("clock skipped", "keys skipped", "authentication fail", "activity skipped"), "Duo cannot be reached", ""},
		{"cut off", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultTruncate}),
			behind("clock ok", "keys skipped", "authentication fail", "activity skipped"), "unexpected EOF", ""},
		{"HTML", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultHTML}),
			behind("clock ok", "keys skipped", "authentication fail", "activity fail"), "not JSON but text/html", ""},
		{"HTML of a portal", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultHTML, Status: 200}),
			behind("clock ok", "keys skipped", "authentication fail", "activity fail"), "not JSON but text/html", ""},
		{"redirect", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultRedirect}),
			behind("clock ok", "keys skipped", "authentication fail", "activity fail"), "a redirect to login.example.com", ""},
		{"server error", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultStatus}),
			behind("clock ok", "keys skipped", "authentication fail", "activity fail"), "see status.duo.com", ""},
		{"broken JSON", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultBroken}),
			behind("clock ok", "keys skipped", "authentication fail", "activity fail"), "cannot be used", ""},
		{"an answer that is too large", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultHuge}),
			behind("clock ok", "keys skipped", "authentication fail", "activity fail"), "larger than 16 MiB", ""},
		{"escape codes", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultStatus, Body: `{"stat":"FAIL","code":50001,"message":"\u001b[31m\r\n  ok  all"}`}),
			behind("clock ok", "keys skipped", "authentication fail", "activity fail"), "ok  all", ""},
		{"an echo of the secret", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultStatus, Body: `{"stat":"FAIL","code":50001,"message":"` + duotest.SecretKey + `"}`}),
			behind("clock ok", "keys skipped", "authentication fail", "activity fail"), "[redacted]", ""},

		{"wrong secret", duotest.Config{}, set("secret_key", "wrong-secret"),
			behind("clock ok", "keys fail", "authentication skipped", "activity skipped"), "code 40103: Invalid signature", ""},
		{"wrong integration key", duotest.Config{}, set("integration_key", "DIWRONG"),
			behind("clock ok", "keys fail", "authentication skipped", "activity skipped"), "check integration_key", ""},
		{"clock far ahead", duotest.Config{Now: func() time.Time { return time.Now().Add(-time.Hour) }}, nil,
			behind("clock fail", "keys fail", "authentication skipped", "activity skipped"), "ahead of Duo's; set it right", ""},
		{"clock behind", duotest.Config{Now: func() time.Time { return time.Now().Add(2 * time.Minute) }}, nil,
			behind("clock fail", "keys ok", "authentication ok", "activity ok"), "s behind Duo's; set it right", ""},
		{"clock a little off", duotest.Config{Now: func() time.Time { return time.Now().Add(-30 * time.Second) }}, nil,
			behind("clock warn", "keys ok", "authentication ok", "activity ok"), "", "ahead of Duo's; set it right"},

		{"no permission at all", duotest.Config{}, func(_ *testing.T, b *bench) { b.server.SetPermissions(false) },
			behind("clock ok", "keys ok", "authentication fail", "activity fail"), "Grant read log", ""},
		{"no permission for one", duotest.Config{}, func(_ *testing.T, b *bench) { b.server.SetPermission("activity", false) },
			behind("clock ok", "keys ok", "authentication ok", "activity fail"), "activity: Duo denies access", ""},
		{"a retired log", duotest.Config{}, func(_ *testing.T, b *bench) {
			b.server.Retire("administrator", 410)
			b.set["logs"] = "administrator, activity"
		}, behind("clock ok", "keys ok", "administrator warn", "activity ok"), "", "Duo retires it"},
		{"a log that is not there", duotest.Config{}, func(_ *testing.T, b *bench) { b.server.Retire("activity", 404) },
			behind("clock ok", "keys ok", "authentication ok", "activity fail"), "take it out of the option logs", ""},
		{"somebody else reads", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultRateLimit}),
			behind("clock ok", "keys ok", "authentication warn", "activity warn"), "", "somebody else reads this log"},
		{"a bad request", duotest.Config{}, every(duotest.Fault{Kind: duotest.FaultStatus, Status: 400}),
			behind("clock ok", "keys ok", "authentication fail", "activity fail"), "Duo refuses the request", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, tt.config)
			if tt.prepare != nil {
				tt.prepare(t, b)
			}
			c := b.check()
			var got []string
			for _, line := range results(c) {
				if !strings.HasPrefix(line, "configuration ") && !slices.Contains(around, line) {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, c.text())
			}
			failed := says(c, resultFail)
			if !strings.Contains(failed, tt.says) || (failed == "") != (tt.says == "") {
				t.Errorf("what FAILs says %q, want %q", failed, tt.says)
			}
			if warned := says(c, resultWarn); !strings.Contains(warned, tt.warns) {
				t.Errorf("what is warned of says %q, want %q", warned, tt.warns)
			}
		})
	}
}

// A service provider's accounts are compared with the list, and the first ones are tried.
func TestCheckAccounts(t *testing.T) {
	for _, tt := range []struct {
		name, accounts string
		prepare        func(*bench)
		want           []string
		says           string
	}{
		{"all", "all", nil, []string{"keys ok", "accounts ok", "activity of DA1 ok", "activity of DA2 ok"}, ""},
		{"some", "DA2", nil, []string{"keys ok", "accounts ok", "activity of DA2 ok"}, ""},
		{"one that is not there", "DA2, DA9", nil, []string{"keys ok", "accounts fail", "accounts ok", "activity of DA2 ok"}, "DA9 is not in the list"},
		{"one of another deployment", "all", func(b *bench) { b.server.Child("DA1").SetPermissions(false) },
			[]string{"keys ok", "accounts ok", "activity of DA1 fail", "activity of DA2 ok"}, "of another deployment"},
		{"keys of an Admin API application", "all", func(b *bench) {
			b.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 403, N: -1})
		}, []string{"keys ok", "accounts fail", "log skipped"}, "Accounts API application"},
		{"wrong keys", "all", func(b *bench) { b.set["secret_key"] = "wrong-secret" }, []string{"keys fail", "accounts fail", "log skipped"}, "code 40103"},
		{"a hang", "all", func(b *bench) {
			b.set["timeout"] = "4s"
			b.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
		},
			[]string{"keys skipped", "accounts fail", "log skipped"}, "no answer within 4s"},
		{"nobody there", "all", func(b *bench) { b.set["api_host"] = "127.0.0.1:1" }, []string{"keys skipped", "accounts skipped", "log skipped"}, "check api_host, and whether a firewall"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, duotest.Config{})
			for _, id := range []string{"DA1", "DA2"} {
				if _, err := b.running.AddChild(duotest.Child{ID: id}); err != nil {
					t.Fatal(err)
				}
			}
			b.set["accounts"], b.set["logs"] = tt.accounts, "activity"
			if tt.prepare != nil {
				tt.prepare(b)
			}
			c := b.check()
			var got []string
			for _, line := range results(c) {
				if strings.HasPrefix(line, "keys") || strings.HasPrefix(line, "accounts") || strings.Contains(line, "activity") || strings.HasPrefix(line, "log") {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, c.text())
			}
			if failed := says(c, resultFail); !strings.Contains(failed, tt.says) {
				t.Errorf("what FAILs says %q, want %q", failed, tt.says)
			}
		})
	}
}

// Of hundreds of accounts a few are tried, and the report says so.
func TestCheckManyAccounts(t *testing.T) {
	b := newBench(t, duotest.Config{})
	for n := range maxProbed + 2 {
		if _, err := b.running.AddChild(duotest.Child{ID: fmt.Sprintf("DA%d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	b.set["accounts"], b.set["logs"] = "all", "activity"
	c := b.check()
	if text := says(c, resultOK); !strings.Contains(text, "accounts: 7 of 7 child accounts are pulled; 5 of them were tried") || !strings.Contains(text, "activity of DA4: it can be read") {
		t.Errorf("well is\n%s", text)
	}
	if n := b.server.Count("activity").Calls; n != maxProbed {
		t.Errorf("%d calls for logs, want %d", n, maxProbed)
	}
}

// No output of the examples gives up.
func TestCheckExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.[cy]*")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "../../fluent-bit.conf.example") {
		conf, err := readConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(conf.ours()) == 0 {
			t.Errorf("%s: no input of duo_in", file)
		}
		for _, o := range conf.outputs {
			for _, v := range conf.unsetIn(o) {
				conf.vars[v] = "set"
			}
		}
		for _, s := range conf.ours() {
			in := &checked{}
			in.outputs(conf, s)
			for _, f := range in.Checks {
				if f.Result != resultOK {
					t.Errorf("%s: %s", file, f.Text)
				}
			}
		}
	}
}

// What is around the options: what Fluent Bit does with them, where it keeps events, and whether outputs give up.
func TestCheckSurroundings(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  map[string]string
		rest string // "" for a good one
		want string // the line's result and words
	}{
		{"a wrong value", map[string]string{"delay": "2 min"}, "", `fail configuration: delay "2 min": give a number with its unit`},
		{"an unset variable", map[string]string{"integration_key": "${DUO_NO_SUCH_KEY}"}, "", `warn configuration: the environment variable "DUO_NO_SUCH_KEY" is not set here`},
		{"a slip", map[string]string{"pol_interval": "60s"}, "", "warn configuration: pol_interval is not an option of duo_in and has no effect; did you mean poll_interval?"},
		{"an unknown key", map[string]string{"description": "x"}, "", `warn configuration: "description" is an option of neither`},
		{"a net key", map[string]string{"net.keepalive": "off"}, "", "fail configuration: net.keepalive: Fluent Bit does not start"},
		{"tls", map[string]string{"tls": "on"}, "", "fail configuration: tls: Fluent Bit does not start"},
		{"the same log twice", nil, "[INPUT]\n    name duo\n    api_host SAME\n    ikey DI\n    skey x\n    checkpoint_dir SAME\n    threaded off\n    tag duo\n", "fail configuration: authentication is read by duo.0 too"},
		{"no thread of its own", nil, "[INPUT]\n    name duo\n    threaded off\n    tag duo\n", "fail configuration: threaded off: several duo inputs"},
		{"memory storage", map[string]string{"storage.type": ""}, "", "warn storage: storage.type is not filesystem"},
		{"a checksum", nil, "[SERVICE]\n    storage.checksum on\n", "warn storage: storage.checksum on: a kill loses"},
		{"daemon", nil, "[SERVICE]\n    daemon on\n", "fail configuration: [SERVICE] daemon on"},
		{"two volumes", map[string]string{"checkpoint_dir": "/proc/duo_in"}, "", "is not on the volume of checkpoint_dir"},
		{"no folder for checkpoints", map[string]string{"checkpoint_dir": "/dev/null"}, "", "fail checkpoints: checkpoint folder"},
		{"no output", nil, "[OUTPUT]\n    name stdout\n    match other.*\n    retry_limit no_limits\n", `warn outputs: no [OUTPUT] matches the tag "duo"`},
		{"an output that gives up", nil, "[OUTPUT]\n    name tcp\n    match d*\n", "retry_limit is 1, Fluent Bit's default"},
		{"an output that gives up later", nil, "[OUTPUT]\n    name tcp\n    match_regex ^du\n    retry_limit 5\n", "retry_limit is 5: what it cannot deliver"},
		{"s3, which takes no_limits for 5", nil, "[OUTPUT]\n    name s3\n    match *\n    retry_limit no_limits\n", "stays in store_dir; set 1000000000"},
		{"an unset variable of an output", nil, "[OUTPUT]\n    name splunk\n    match *\n    splunk_token ${DUO_NO_SUCH_TOKEN}\n    host ${DUO_NO_SUCH_HOST:-localhost}\n    retry_limit no_limits\n", `the environment variable "DUO_NO_SUCH_TOKEN" is not set here`},
		{"an output of others", nil, "[OUTPUT]\n    name tcp\n    match other\n[OUTPUT]\n    name tcp\n    match duo\n    retry_limit false\n", "ok outputs: outputs that get the events: 1;"},
		{"a tag that is rewritten", nil, "[FILTER]\n    name rewrite_tag\n    match duo\n[OUTPUT]\n    name tcp\n    match new\n    retry_limit off\n", "ok outputs: outputs that get the events: 1;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat("/proc/self"); err != nil && tt.name == "two volumes" {
				t.Skip("NO /proc: another volume was not tried")
			}
			b := newBench(t, duotest.Config{})
			for key, value := range tt.set {
				b.set[key] = value
			}
			if tt.rest != "" {
				rest := strings.Replace(tt.rest, "SAME", b.set["api_host"], 1)
				b.rest = strings.Replace(rest, "SAME", b.set["checkpoint_dir"], 1)
			}
			c := b.check()
			var lines strings.Builder
			for _, in := range c.inputs {
				for _, f := range in.Checks {
					fmt.Fprintf(&lines, "%s %s: %s\n", f.Result, f.subject(), f.Text)
				}
			}
			if !strings.Contains(lines.String(), tt.want) {
				t.Errorf("no %q in\n%s", tt.want, &lines)
			}
		})
	}
}

// A checkpoint that somebody holds, or that is torn, is said, and left as it is.
func TestCheckCheckpoints(t *testing.T) {
	b := newBench(t, duotest.Config{})
	dir := b.set["checkpoint_dir"]
	store, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	slot, err := store.Acquire(context.Background(), checkpoint.Stream{Host: b.set["api_host"], Log: "activity"}, "[INPUT] duo.3")
	if err != nil {
		t.Fatal(err)
	}
	var cursor duo.Cursor
	if _, err := slot.Load(&cursor); err != nil {
		t.Fatal(err)
	}
	cursor = duo.NewCursor(time.Now(), time.Now())
	if err := slot.Save(&cursor); err != nil {
		t.Fatal(err)
	}
	c := b.check()
	if text := says(c, resultWarn); !strings.Contains(text, fmt.Sprintf("activity: its checkpoint is held by [INPUT] duo.3, pid %d", os.Getpid())) {
		t.Errorf("warned of %q", text)
	}
	if text := says(c, resultOK); !strings.Contains(text, "logs that go on from their checkpoints in it: 1;") {
		t.Errorf("well is %q", text)
	}
	if err := slot.Release(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "self", "activity.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := says(b.check(), resultFail); !strings.Contains(text, "activity.json: torn, or not a checkpoint") {
		t.Errorf("FAILs %q", text)
	}
	if text, err := os.ReadFile(files[0]); err != nil || string(text) != "torn" {
		t.Errorf("the file is %q now, %v", text, err)
	}
}

// An interrupt ends a call, skips the rest and is no success.
func TestCheckInterrupted(t *testing.T) {
	b := newBench(t, duotest.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	b.ctx, b.set["timeout"] = ctx, "10m"
	b.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1, Match: func(duotest.Call) bool { cancel(); return true }})
	c := b.check()
	want := append(slices.Clone(freeWay), "clock skipped", "keys skipped", "authentication skipped", "activity skipped")
	if got := results(c); len(got) < 9 || !slices.Equal(got[2:9], want) {
		t.Errorf("%q, want among it %q", got, want)
	}
	if text := says(c, resultSkipped); strings.Contains(text, "FAILed") || !strings.Contains(text, "activity: because the check was interrupted") {
		t.Errorf("skipped is\n%s", text)
	}
	if err := c.report(io.Discard, false); err == nil || err.Error() != "interrupted" {
		t.Errorf("error %v, want that it was interrupted", err)
	}
}
