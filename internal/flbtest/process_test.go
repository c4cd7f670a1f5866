package flbtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpecIsChecked(t *testing.T) {
	good := func() Spec {
		return Spec{Plugin: "/p/duo_in.so", Dir: "/d", Inputs: []Input{{Tag: "a"}}}
	}
	tests := []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{"good", func(*Spec) {}, ""},
		{"no plugin", func(s *Spec) { s.Plugin = "" }, "are required"},
		{"Fluent Bit alone", func(s *Spec) { *s = Spec{Dir: "/d", Config: "[SERVICE]", ConfigName: "a.conf"} }, ""},
		{"no input", func(s *Spec) { s.Inputs = nil }, "are required"},
		{"reserved name", func(s *Spec) { s.Plugin = "/p/flb-duo.so" }, "reserves the prefix"},
		{"tag with a slash", func(s *Spec) { s.Inputs[0].Tag = "../a" }, `tag "../a"`},
		{"tag with a wildcard", func(s *Spec) { s.Inputs[0].Tag = "*" }, `tag "*"`},
		{"tag twice", func(s *Spec) { s.Inputs = append(s.Inputs, Input{Tag: "a"}) }, "used twice"},
		{"key of two words", func(s *Spec) { s.Inputs[0].Options = []Option{{"a b", "c"}} }, "must be one word"},
		{"no value", func(s *Spec) { s.Inputs[0].Options = []Option{{"a", " "}} }, "leave it out"},
		{"two lines", func(s *Spec) { s.Service = []Option{{"a", "b\nc d"}} }, "more than one line"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := good()
			tt.change(&s)
			err := s.validate()
			if (err != nil) != (tt.want != "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	s := Spec{
		Plugin: "/p/duo_in.so", Dir: "/d", OldLayout: true, Grace: 1500 * time.Millisecond, LogCollects: true,
		Inputs:  []Input{{Tag: "a", Options: []Option{{"logs", "telephony, activity"}, {"logs", "again"}}}},
		Service: []Option{{"storage.sync", "full"}},
	}
	want := map[Kind]string{
		CHost: `[service]
    plugin /p/duo_in.so
    out /d/out
    layout old
    pause last
    metrics on
    hot_reload off
    grace_ms 1500
    collect_ms 1000
    drain_ms 250
    times on
[input]
    name duo
    tag a
    logs telephony, activity
    logs again
`,
		FluentBit: `[SERVICE]
    flush 0.5
    grace 2
    daemon off
    http_server off
    log_level info
    storage.path /d/storage
    storage.checksum off
    storage.sync full
[INPUT]
    name duo
    tag a
    storage.type filesystem
    logs telephony, activity
    logs again
[OUTPUT]
    name file
    match a
    path /d/out
    file a
    retry_limit no_limits
`}
	for kind, want := range want {
		if diff := cmp.Diff(want, string(s.config(kind))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", kind, diff)
		}
	}
}

func TestProcessEnds(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			s := newScenario(t, kind, numbered("a"))
			var out, errs bytes.Buffer
			s.spec.Stdout, s.spec.Stderr = &out, &errs
			p := s.startReady()
			info, err := os.Stat(filepath.Join(s.spec.Dir, kind.String()+".conf"))
			s.check(err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("mode of the configuration is %v", info.Mode())
			}
			soon, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
			defer cancel()
			if _, err := p.Wait(soon); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Wait: %v", err)
			}
			never := regexp.MustCompile("never logged")
			if err := p.WaitLog(soon, never); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("WaitLog: %v", err)
			}
			s.check(p.Kill())
			s.check(p.Kill())
			if exit, err := p.Wait(s.ctx); exit != 128+9 || err != nil {
				t.Errorf("Wait after Kill: %d, %v", exit, err)
			}
			if err := p.WaitLog(s.ctx, never); err == nil || !strings.Contains(err.Error(), "ended with status 137") {
				t.Errorf("WaitLog after Kill: %v", err)
			}
			if _, err := p.Stop(s.ctx); err == nil {
				t.Error("Stop after Kill: no error")
			}
			if len(p.Log()) == 0 || len(p.Log()) != out.Len()+errs.Len() {
				t.Errorf("log of %d bytes, tees of %d and %d", len(p.Log()), out.Len(), errs.Len())
			}
		})
	}
}

func TestCommands(t *testing.T) {
	s := newScenario(t, CHost, numbered("a"))
	p := s.startReady()
	for command, want := range map[string]string{
		"sing": "unknown command", "pause b": "no input has that tag", "drop": "no input has that tag",
	} {
		if err := p.Command(s.ctx, command); err == nil || !strings.Contains(err.Error(), command+": "+want) {
			t.Errorf("%s: error %v, want %q", command, err, want)
		}
	}
	config := filepath.Join(s.spec.Dir, "flbhost.conf")
	whole, err := os.ReadFile(config)
	s.check(err)
	s.check(os.WriteFile(config, []byte("[input]\nlonely\n"), 0o600))
	if err := p.Command(s.ctx, "reload"); err == nil || !strings.Contains(err.Error(), "flbhost.conf:2: a key without a value") {
		t.Errorf("reload: %v", err)
	}
	s.check(os.WriteFile(config, whole, 0o600))
	s.check(p.Command(s.ctx, "reload"))
	s.check(p.stdin.Close())
	if exit, err := p.Wait(s.ctx); exit != 0 || err != nil {
		t.Errorf("after the end of stdin: %d, %v", exit, err)
	}

	other := Process{kind: FluentBit, cmd: p.cmd}
	if err := other.Command(s.ctx, "pause a"); err == nil {
		t.Error("Fluent Bit took a command")
	}
}

func TestUsage(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED, needs /proc")
	}
	s := newScenario(t, CHost, numbered("a"))
	p := s.startReady()
	u, err := p.Usage()
	s.check(err)
	// stdin, stdout and stderr, two of the signals' pipe, two of the mailbox, one file; others may be inherited
	if u.Files < 8 || u.Files > 40 || u.Threads != 2 || u.Resident < 100<<10 || u.Resident > 50<<20 || u.Peak < u.Resident || u.CPU <= 0 || u.CPU > time.Minute {
		t.Errorf("got %+v", u)
	}
	s.stop(p)
	if _, err := p.Usage(); err == nil {
		t.Error("no error after the end")
	}
}

// The fake plugin's first call brings three records of about 50 bytes each.
func TestCollects(t *testing.T) {
	s := newScenario(t, CHost, numbered("a", Option{"batch", "3"}, Option{"limit", "3"}), numbered("b", Option{"limit", "1"}))
	s.spec.LogCollects = true
	p := s.startReady()
	s.until("both are delivered", func() bool { return len(s.records("a")) == 3 && len(s.records("b")) == 1 })
	s.stop(p)
	all := p.Collects("a")
	if len(all) != 1 || all[0].Bytes < 120 || all[0].Bytes > 240 || all[0].Took > time.Minute || all[0].Queued > time.Minute {
		t.Errorf("got %+v, want one call of about 150 bytes", all)
	}
}

func TestOutputIsBounded(t *testing.T) {
	var o output
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 3 * maxLog / len(line) {
		_, _ = o.Write(line)
	}
	_, _ = o.Write([]byte("end"))
	kept := o.since(0)
	if len(kept) != maxLog || cap(o.buf) > 4*maxLog || !bytes.HasSuffix(kept, []byte("x\nend")) {
		t.Errorf("kept %d bytes, capacity %d", len(kept), cap(o.buf))
	}
	total, changed := o.state()
	_, _ = o.Write([]byte(" more"))
	<-changed
	if got := string(o.since(total)); got != " more" {
		t.Errorf("since(total) = %q", got)
	}
}
