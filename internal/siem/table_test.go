package siem

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"duo_in/internal/flbtest"
)

var update = flag.Bool("update", false, "rewrite the table of examples/README.md")

// examples is the folder of what is tested here.
const examples = "../../examples"

// example is a file of examples/, and a row of its README's table.
type example struct {
	file    string // below examples/
	siem    string // what it sends to, as a reader looks for it
	format  string // of what is sent
	test    string // the test that runs it end to end, here or in internal/scenario; none if it is only --dry-run
	against string // what it was run against by that test
}

// table is every file, in the order of the README's rows.
func table() []example {
	return slices.Concat(
		syslogExamples,
		lineExamples,
		productExamples,
		routing,
	)
}

// syslogExamples are those of the output syslog, and what receives from them.
var syslogExamples = []example{
	{"syslog.conf", "rsyslog, syslog-ng, any receiver of syslog", "JSON in RFC 5424 or 3164, over TLS or TCP", "TestExampleSyslog", realSyslog},
	{"syslog-cef.conf", "a receiver of CEF by syslog: ArcSight, QRadar", "CEF in RFC 3164 or 5424, over TLS or TCP", "TestExampleSyslog", realSyslog + ", not ArcSight or QRadar"},
	{"syslog-udp.conf", "the same, where it must be UDP", "JSON or CEF in RFC 5424 or 3164, over UDP", "TestExampleSyslogUDP", realSyslog},
	{"receivers/rsyslog.conf", "the other end: rsyslog", "a file with an event a line", "TestExampleSyslog", "rsyslog 8.2302"},
	{"receivers/syslog-ng.conf", "the other end: syslog-ng", "a file with an event a line", "TestExampleSyslog", "syslog-ng 3.38"},
}

const realSyslog = "rsyslog 8.2302 and syslog-ng 3.38"

// lineExamples are those for receivers of lines.
var lineExamples = []example{
	{"json-lines.conf", "any SIEM that takes JSON lines", "JSON lines over TLS or TCP", "TestExampleJSONLines", "TLS and TCP receivers of the test"},
}

// routing are the examples that lead logs to several places.
var routing = []example{
	{"one-tag-per-log.conf", "a place of its own for each log, by an `[INPUT]` for each", "JSON lines over TCP, files", "TestExampleOneTagPerLog", "a TCP receiver of the test"},
	{"rewrite-tag.conf", "a place of its own for each log, by a filter", "JSON lines over TCP, a file", "TestExampleRewriteTag", "a TCP receiver of the test"},
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(examples, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// isFluentBit tells Fluent Bit's configurations from those of receivers.
func isFluentBit(file string) bool { return path.Dir(file) == "." }

// TestTable holds that the table has every file, that the tests it names are
// there, and that the README says the same.
func TestTable(t *testing.T) {
	var want, got []string
	err := fs.WalkDir(os.DirFS(examples), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && p != "README.md" {
			want = append(want, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := code(t, ".", "../scenario")
	for _, e := range table() {
		got = append(got, e.file)
		if e.test != "" && !strings.Contains(tests, "\nfunc "+e.test+"(") {
			t.Errorf("%s: there is no %s", e.file, e.test)
		}
		if (e.test == "") != (e.against == "") {
			t.Errorf("%s: test %q, but run against %q", e.file, e.test, e.against)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-examples/ +the table):\n%s", diff)
	}
	readmeTable(t)
}

// code is that of the tests in these folders.
func code(t *testing.T, folders ...string) string {
	t.Helper()
	var code strings.Builder
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(b)
		}
	}
	return code.String()
}

// readmeTable holds README.md's table to the table here, or rewrites it.
func readmeTable(t *testing.T) {
	t.Helper()
	var rows strings.Builder
	rows.WriteString("| to | file | what is sent | run by the tests |\n|---|---|---|---|\n")
	for _, e := range table() {
		run := "with `--dry-run` only"
		if e.test != "" {
			run = "against " + e.against
		}
		fmt.Fprintf(&rows, "| %s | [%s](%[2]s) | %s | %s |\n", e.siem, e.file, e.format, run)
	}
	between := regexp.MustCompile(`(?s)(<!-- examples:begin -->\n).*(<!-- examples:end -->)`)
	old := read(t, "README.md")
	if !between.MatchString(old) {
		t.Fatal("README.md has no table between examples:begin and examples:end")
	}
	written := between.ReplaceAllLiteralString(old, "<!-- examples:begin -->\n"+rows.String()+"<!-- examples:end -->")
	if *update {
		if err := os.WriteFile(filepath.Join(examples, "README.md"), []byte(written), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(written, old); diff != "" {
		t.Errorf("README.md (-the table +as it is; go test ./internal/siem -update rewrites it):\n%s", diff)
	}
}

// rules are what keeps events from being lost, in every example, and secrets
// from standing in it.
var rules = map[string]map[string]string{
	"SERVICE": {"storage.path": "/var/lib/duo_in/storage", "storage.checksum": "off", "scheduler.cap": "60"},
	"INPUT": {
		"name": "duo", "storage.type": "filesystem", "checkpoint_dir": "/var/lib/duo_in",
		"api_host": "${DUO_API_HOST}", "integration_key": "${DUO_INTEGRATION_KEY}", "secret_key": "${DUO_SECRET_KEY}",
	},
	"OUTPUT": {"retry_limit": "no_limits"},
}

func TestRules(t *testing.T) {
	for _, e := range table() {
		if !isFluentBit(e.file) {
			continue
		}
		if how := "#   fluent-bit -e build/duo_in.so -c examples/" + e.file + "\n"; !strings.Contains(read(t, e.file), how) {
			t.Errorf("%s does not say how it is run: %q", e.file, how)
		}
		sections := map[string]int{}
		for _, s := range flbtest.ParseConfig(e.file, read(t, e.file)) {
			sections[s.Name]++
			for key, want := range rules[s.Name] {
				// The output s3 takes no_limits for 5 (plugins/out_s3/s3.c:cb_s3_init).
				if key == "retry_limit" && s.Get("name") == "s3" {
					want = "1000000000"
				}
				if got := s.Get(key); got != want {
					t.Errorf("%s: [%s] %s: %s is %q, want %q", e.file, s.Name, s.Get("name"), key, got, want)
				}
			}
			if s.Get("tls") == "on" && (s.Get("tls.verify") != "on" || s.Get("tls.verify_hostname") != "on") {
				t.Errorf("%s: [%s] %s: TLS without tls.verify on and tls.verify_hostname on", e.file, s.Name, s.Get("name"))
			}
			if s.Name == "OUTPUT" && s.Get("match") == "" && s.Get("match_regex") == "" {
				t.Errorf("%s: [%s] %s: matches nothing", e.file, s.Name, s.Get("name"))
			}
		}
		if sections["SERVICE"] != 1 || sections["INPUT"] < 1 || sections["OUTPUT"] < 1 {
			t.Errorf("%s: sections %v", e.file, sections)
		}
	}
}
