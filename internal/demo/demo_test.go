//go:build cgo

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/internal/flbtest"
)

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "duo_in-demo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// build makes what the demonstration needs.
var build = sync.OnceValues(func() (d demo, err error) {
	if d.plugin, err = flbtest.BuildPlugin(context.Background(), buildDir); err != nil {
		return d, err
	}
	d.duoctl = filepath.Join(buildDir, "duoctl")
	out, err := exec.Command("go", "build", "-o", d.duoctl, "duo_in/cmd/duoctl").CombinedOutput()
	if err != nil {
		return d, fmt.Errorf("build duoctl: %w\n%s", err, out)
	}
	return d, nil
})

// newDemo is a short one.
func newDemo(t *testing.T) demo {
	t.Helper()
	d, err := build()
	if err != nil {
		t.Fatal(err)
	}
	d.width, d.backlog, d.live, d.down = 40, 5, 1, time.Millisecond
	return d
}

// leavesNothing runs f with an empty folder for temporary files, which must be
// empty at the end as well, and nothing that f has started may run then.
func leavesNothing(t *testing.T, f func()) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f()
	left, err := os.ReadDir(dir)
	if len(left) > 0 || err != nil {
		t.Errorf("files left: %v (%v)", left, err)
	}
	if diff := cmp.Diff([]string(nil), children(t)); diff != "" {
		t.Errorf("processes left (-want +got):\n%s", diff)
	}
}

// children lists the processes that this one has started, from Linux's /proc.
func children(t *testing.T) (list []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, rest, _ := strings.Cut(string(stat), " (")
		name, rest, _ := strings.Cut(rest, ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			list = append(list, pid+" "+name)
		}
	}
	return list
}

func TestDemo(t *testing.T) {
	d := newDemo(t)
	tests := []struct {
		name, fluentBit string
		host            string
	}{
		{"C host", "/nonexistent", "a small C program that loads it as Fluent Bit does, since $FLUENT_BIT names /nonexistent, which is not there"},
		{"Fluent Bit", os.Getenv("FLUENT_BIT"), "Fluent Bit v"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("FLUENT_BIT", tt.fluentBit)
			if _, ok := flbtest.FluentBitPath(); !ok && tt.name == "Fluent Bit" {
				t.Skip("SKIPPED, the demo in real Fluent Bit is NOT tested: put fluent-bit on PATH or its path into $FLUENT_BIT")
			}
			leavesNothing(t, func() {
				var out bytes.Buffer
				d.out = &out
				if err := d.run(t.Context()); err != nil {
					t.Fatalf("%v, after\n%s", err, out.String())
				}
				for _, want := range []string{
					regexp.QuoteMeta("duo_in runs in " + tt.host),
					`log: activity: no checkpoint yet`,
					`(?m)^ +1 telephony +\{"|^ +1 authentication +\{"|^ +1 activity +\{"`,
					`log: activity: going on at`,
					`(?m)^   missing +0$`,
				} {
					if !regexp.MustCompile(want).MatchString(out.String()) {
						t.Errorf("no %q in\n%s", want, out.String())
					}
				}
			})
		})
	}
}

// interrupter ends a context when a text is written.
type interrupter struct {
	at     string
	cancel context.CancelFunc
	bytes.Buffer
}

func (i *interrupter) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(i.at)) {
		i.cancel()
	}
	return i.Buffer.Write(b)
}

func TestInterrupted(t *testing.T) {
	t.Setenv("FLUENT_BIT", "/nonexistent")
	d := newDemo(t)
	d.down = 4 * time.Minute // it must not be waited for
	for _, at := range []string{"1. A simulated Duo", "2. The first run", "log: ", "telephony  ", "Stopped cleanly"} {
		t.Run(at, func(t *testing.T) {
			leavesNothing(t, func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				out := &interrupter{at: at, cancel: cancel}
				d.out = out
				start := time.Now()
				if err := d.run(ctx); !errors.Is(err, context.Canceled) || time.Since(start) > d.down/2 {
					t.Errorf("after %v: %v, after\n%s", time.Since(start), err, out.String())
				}
			})
		})
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	var out bytes.Buffer
	v := newViewer(demo{out: &out}, nil, time.Now())
	for i, record := range []string{`{"a": 1, "b": 2.0, "event_id": "x"}`, `{"a": 2, "event_id": "y"}`, `{"a": 2, "event_id": "y"}`} {
		e, err := newEvent("activity", []byte(record))
		if err != nil {
			t.Fatal(i, err)
		}
		v.delivered[e]++
		v.ids[string(record[len(record)-3])]++
	}
	var filed []event
	for _, record := range []string{`{"b":2,"a":1}`, `{"a":1,"b":2}`, `{"a":2}`, `{"a":3}`} {
		e, err := newEvent("activity", []byte(record))
		if err != nil {
			t.Fatal(err)
		}
		filed = append(filed, e)
	}
	if diff := cmp.Diff([]event{`activity {"a":1,"b":2}`, `activity {"a":3}`}, v.missing(filed)); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if err := v.conclude(v, 2, filed); !errors.Is(err, errIncomplete) {
		t.Errorf("error %v", err)
	}
	if err := v.conclude(v, 2, filed[:1]); err != nil {
		t.Errorf("with nothing missing: %v", err)
	}
	for _, want := range []string{
		"filed +4\n.*delivered +3 +2 by the first run, 1 by the second\n.*missing +2\n.*twice +1\n.*event_id[.]\n\n",
		"filed +1\n.*delivered +3 .*\n.*missing +0\n.*twice +1\n.*newer +1 ",
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestNothingToStart(t *testing.T) {
	t.Setenv("FLUENT_BIT", "/nonexistent")
	leavesNothing(t, func() {
		err := demo{out: &bytes.Buffer{}, duoctl: "/nonexistent"}.run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "start the simulated Duo") {
			t.Error(fmt.Sprint(err))
		}
	})
}
