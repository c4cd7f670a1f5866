package flbtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var kinds = []Kind{CHost, FluentBit}

// numbered is an input of the fake.
func numbered(tag string, options ...Option) Input {
	return Input{Tag: tag, Options: append([]Option{{"id", tag}}, options...)}
}

func TestDelivery(t *testing.T) {
	tests := []struct {
		name    string
		kind    Kind
		old     bool
		cleanup string // in the journal
	}{
		{"flbhost", CHost, false, "id=in.a next=25"},
		{"flbhost, old layout", CHost, true, "id=in.a next=25 plain"},
		{"fluent-bit", FluentBit, false, "id=in.a next=25"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScenario(t, tt.kind, numbered("in.a", Option{"batch", "10"}, Option{"limit", "25"}))
			s.spec.OldLayout = tt.old
			p := s.start()
			reader := NewReader(s.kind, s.spec.Dir, "in.a")
			var got []Record
			readTo := func(n int) {
				s.until(fmt.Sprint(n, " records are there"), func() bool {
					more, err := reader.Next()
					s.check(err)
					got = append(got, more...)
					return len(got) >= n
				})
			}
			readTo(25)
			s.stop(p)
			if s.count("Cleanup", tt.cleanup) != 1 {
				t.Errorf("no cleanup %q in %+v", tt.cleanup, s.calls())
			}

			s.spec.Inputs = []Input{numbered("in.a", Option{"first", "25"}, Option{"limit", "2"})}
			p = s.start()
			readTo(27)
			s.stop(p)
			if diff := cmp.Diff(sequence(0, 27), s.numbers(got)); diff != "" {
				t.Error("delivered (-want +got):\n", diff)
			}
			if diff := cmp.Diff(got, s.records("in.a")); diff != "" {
				t.Error("Records and Reader differ:\n", diff)
			}
			last := got[26]
			last.Line = 0
			want := Record{
				Time: time.Unix(1700000026, 26).UTC(),
				Keys: []string{"n", "event_id", "z"},
				JSON: []byte(`{"n":26,"event_id":"in.a-26","z":[null,true]}`),
			}
			if diff := cmp.Diff(want, last); diff != "" {
				t.Error("record (-want +got):\n", diff)
			}
			if id := last.String("event_id"); id != "in.a-26" {
				t.Errorf("event_id = %q", id)
			}
		})
	}
}

// What one thread saw, in order, without the callbacks of each second.
func callsOf(calls []call, thread int) []string {
	var names []string
	for _, c := range calls {
		if c.thread == thread && c.name != "Collect" && c.name != "Cleanup" {
			names = append(names, strings.TrimSpace(c.name+" "+c.detail))
		}
	}
	return names
}

func TestCallOrder(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			s := newScenario(t, kind, numbered("a"), numbered("b"))
			s.spec.HotReload = true
			p := s.start()
			s.until("both inputs run", func() bool { return s.count("PreRun", "") == 2 })
			if kind == CHost {
				s.check(p.Command(s.ctx, "reload"))
			} else {
				s.check(p.Signal(syscall.SIGHUP))
			}
			s.until("both inputs run again", func() bool { return s.count("PreRun", "") == 4 })
			if kind == FluentBit { // while it reloads, it takes no signal
				s.check(p.WaitLog(s.ctx, regexp.MustCompile(`successful reload done`)))
			}
			s.stop(p)

			calls := s.calls()
			want := []string{
				"PreRegister hot=0", "Register main=1",
				"PreRegister hot=1", "Register main=1",
				"Unregister main=1 def=1", "Unregister main=1 def=1",
			}
			if diff := cmp.Diff(want, callsOf(calls, p.Pid())); diff != "" {
				t.Error("main thread (-want +got):\n", diff)
			}
			for i, c := range slices.DeleteFunc(s.calls(), func(c call) bool { return c.name != "Init" }) {
				id, hot := []string{"a", "b"}[i%2], 1-i/2
				want := []string{
					"Init id=" + id + " layout=new", "PreRun hot=1", "Pause", "Pause", fmt.Sprintf("PreExit hot=%d", hot), "Exit",
				}
				if diff := cmp.Diff(want, callsOf(calls, c.thread)); diff != "" {
					t.Errorf("thread of %s (-want +got):\n%s", id, diff)
				}
			}
			checkReloadOrder(t, calls)
		})
	}
}

// The old pipeline stops after the new plugin is registered, backwards, and is
// unregistered before the new pipeline begins.
func checkReloadOrder(t *testing.T, calls []call) {
	t.Helper()
	wanted := []string{"Init", "Register", "PreExit", "Exit", "Unregister"}
	calls = slices.DeleteFunc(calls, func(c call) bool { return !slices.Contains(wanted, c.name) })
	threads := map[int]string{}
	var got []string
	for _, c := range calls {
		if c.name == "Init" {
			threads[c.thread] = c.detail[len("id="):][:1]
		}
		got = append(got, c.name+" "+threads[c.thread])
	}
	once := []string{"Register ", "Init a", "Init b"}
	end := []string{"PreExit b", "Exit b", "PreExit a", "Exit a", "Unregister "}
	want := slices.Concat(once, []string{"Register "}, end, once[1:], end)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("order (-want +got):\n", diff)
	}
}

func TestProperties(t *testing.T) {
	const probed = "tag,host,LOG_LEVEL,mem_buf_limit,storage.type,id,Mixed,twice,spaced,env,fallback,absent"
	want := []string{
		"tag=(null)", "host=(null)", "LOG_LEVEL=(null)", "mem_buf_limit=(null)", "storage.type=(null)", "id=a", "Mixed=case",
		"twice=first", "spaced=one, two  three", "env=<from outside>", "fallback=inside", "absent=(null)",
	}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			s := newScenario(t, kind, numbered("a", Option{"probe", probed}, Option{"host", "example.com"},
				Option{"log_level", "info"}, Option{"mem_buf_limit", "10M"}, Option{"mIXED", "case"}, Option{"twice", "first"},
				Option{"Twice", "second"}, Option{"spaced", "one, two  three"}, Option{"env", "<${FLBTEST_VALUE}>"},
				Option{"fallback", "${FLBTEST_UNSET:-inside}"}))
			s.spec.Env = append(s.spec.Env, "FLBTEST_VALUE=from outside")
			s.stop(s.startReady())
			var got []string
			for _, c := range s.calls() {
				if c.name == "Property" {
					got = append(got, c.detail)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("(-want +got):\n", diff)
			}
		})
	}
}

func TestPluginLog(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			s := newScenario(t, kind, numbered("a"))
			p := s.startReady()
			s.check(p.WaitLog(s.ctx, regexp.MustCompile(
				`(?m)^\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d[.\d]*\] \[ info\] \[input:duo:fake\] a begins at 0$`)))
			s.stop(p)
		})
	}
}

func TestFailedInit(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			s := newScenario(t, kind, numbered("a"), numbered("b", Option{"init", "0"}))
			p := s.start()
			exit, err := p.Wait(s.ctx)
			s.check(err)
			if exit != 255 || !strings.Contains(p.Log(), "[error] [go proxy]: plugin 'duo' failed to initialize") {
				t.Errorf("status %d, log:\n%s", exit, p.Log())
			}
			if _, err := p.Stop(s.ctx); err == nil {
				t.Error("Stop tells nothing of a status of 255")
			}
			if kind == FluentBit {
				return // what becomes of a depends on the version
			}
			calls := s.calls()
			inits := slices.DeleteFunc(s.calls(), func(c call) bool { return c.name != "Init" })
			for i, want := range [][]string{
				{"Init id=a layout=new", "PreExit hot=0", "Exit"}, // never collected, so never paused
				{"Init id=b layout=new"},
			} {
				if diff := cmp.Diff(want, callsOf(calls, inits[i].thread)); diff != "" {
					t.Error("(-want +got):\n", diff)
				}
			}
		})
	}
}

// The record after a torn one arrives, and the torn one counts as not
// delivered.
func TestTornByKill(t *testing.T) {
	torn := map[Kind]string{CHost: "\x00\x00\x01\x00\x92\x92", FluentBit: `a: [1700000001.000000001, {"n":1,"event_id":"a: [`}
	file := map[Kind]string{CHost: "a.msgpack", FluentBit: "a"}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			s := newScenario(t, kind, numbered("a", Option{"limit", "1"}))
			p := s.start()
			reader := NewReader(kind, s.spec.Dir, "a")
			var got []Record
			read := func() bool {
				more, err := reader.Next()
				s.check(err)
				got = append(got, more...)
				return len(more) > 0
			}
			s.until("the first record is there", read)
			s.until("Fluent Bit has noted that it is, or it would come again", func() bool {
				chunks, err := filepath.Glob(filepath.Join(s.spec.Dir, "storage", "*", "*"))
				s.check(err)
				return len(chunks) == 0
			})
			s.check(p.Kill())
			f, err := os.OpenFile(filepath.Join(s.spec.Dir, "out", file[kind]), os.O_APPEND|os.O_WRONLY, 0)
			s.check(err)
			_, err = f.WriteString(torn[kind])
			s.check(err)
			s.check(f.Close())
			if read() {
				t.Error("a record that is not whole was read")
			}

			s.spec.Inputs = []Input{numbered("a", Option{"first", "1"}, Option{"limit", "2"})}
			p = s.start()
			s.until("the others are there", func() bool { read(); return len(got) >= 3 })
			s.stop(p)
			if diff := cmp.Diff(sequence(0, 3), s.numbers(got)); diff != "" {
				t.Error("delivered (-want +got):\n", diff)
			}
			if want := map[Kind]int{FluentBit: 1}[kind]; reader.Torn() != want {
				t.Errorf("Torn() = %d, want %d", reader.Torn(), want)
			}
		})
	}
}

// What has not left the ring is lost, whether the host is killed or stopped.
func TestRingIsLost(t *testing.T) {
	for name, end := range map[string]func(*scenario, *Process){
		"kill": func(s *scenario, p *Process) { s.check(p.Kill()) },
		"stop": (*scenario).stop,
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, CHost, numbered("a"))
			p := s.startReady()
			s.until("the first is delivered", func() bool { return len(s.records("a")) > 0 })
			s.check(p.Command(s.ctx, "stall 60000"))
			before, handed := len(s.records("a")), s.count("Cleanup", "")
			s.until("more is handed over", func() bool { return s.count("Cleanup", "") > handed+2 })
			end(s, p)
			if diff := cmp.Diff(sequence(0, before), s.numbers(s.records("a"))); diff != "" {
				t.Error("delivered (-want +got):\n", diff)
			}
		})
	}
}

var dropped = regexp.MustCompile(`\[error\] \[input:duo:a\] could not enqueue records into the ring buffer`)

func TestDrop(t *testing.T) {
	s := newScenario(t, CHost, numbered("a", Option{"limit", "6"}))
	p := s.startReady()
	s.check(p.Command(s.ctx, "drop a 2"))
	s.until("all are handed over", func() bool { return s.count("Cleanup", "next=6") == 1 })
	s.until("what was not dropped is delivered", func() bool { return len(s.records("a")) == 4 })
	s.stop(p)
	if n := len(dropped.FindAllString(p.Log(), -1)); n != 2 {
		t.Errorf("%d drops are logged, want 2:\n%s", n, p.Log())
	}
	slow := 0
	calls := slices.DeleteFunc(s.calls(), func(c call) bool { return c.name != "Collect" && c.name != "Cleanup" })
	for i := 0; i+1 < len(calls); i += 2 {
		if calls[i+1].ms-calls[i].ms >= 900 {
			slow++
		}
	}
	if slow != 2 {
		t.Errorf("%d cleanups came after 900 ms or more, want 2", slow)
	}
}

func TestFullRing(t *testing.T) {
	const slots = 1024
	gate := filepath.Join(t.TempDir(), "gate") // so that the ring is full of the first
	s := newScenario(t, CHost, numbered("a", Option{"limit", "1100"}, Option{"gate", gate}))
	s.spec.CollectEvery = time.Millisecond
	p := s.startReady()
	s.check(p.Command(s.ctx, "stall 60000"))
	s.check(os.WriteFile(gate, nil, 0o600))
	s.check(p.WaitLog(s.ctx, dropped))
	s.check(p.Command(s.ctx, "stall 1"))
	s.until("all are handed over", func() bool { return s.count("Cleanup", "next=1100") == 1 })
	lost := len(dropped.FindAllString(p.Log(), -1))
	s.until("what was not dropped is delivered", func() bool { return len(s.records("a")) == 1100-lost })
	s.stop(p)
	if diff := cmp.Diff(append(sequence(0, slots), sequence(slots+lost, 1100)...), s.numbers(s.records("a"))); diff != "" {
		t.Error("delivered (-want +got):\n", diff)
	}
}

func TestPause(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprint("own=", own), func(t *testing.T) {
			s := newScenario(t, CHost, numbered("a"), numbered("b"))
			s.spec.PauseOwn = own
			p := s.startReady()
			s.until("both are delivered", func() bool { return len(s.records("a")) > 0 && len(s.records("b")) > 0 })

			s.check(p.Command(s.ctx, "pause a"))
			stopped, runs := "id=b ", "id=a "
			if own {
				stopped, runs = runs, stopped
			}
			a, stoppedAt, runsAt := len(s.records("a")), s.count("Collect", stopped), s.count("Collect", runs)
			s.until(runs+"collects on", func() bool { return s.count("Collect", runs) > runsAt+30 })
			if n := s.count("Collect", stopped); n > stoppedAt+1 {
				t.Errorf("%scollects on: %d, then %d", stopped, stoppedAt, n)
			}
			if n := len(s.records("a")); n != a {
				t.Errorf("the ring of a paused input was emptied: %d, then %d", a, n)
			}

			s.check(p.Command(s.ctx, "resume a"))
			s.until(stopped+"collects again", func() bool { return s.count("Collect", stopped) > stoppedAt+1 })
			s.until("a is delivered again", func() bool { return len(s.records("a")) > a })
			s.stop(p)
			calls := s.calls()
			init := calls[slices.IndexFunc(calls, func(c call) bool { return c.name == "Init" })]
			want := []string{"Init id=a layout=new", "PreRun hot=0", "Pause", "Resume", "Pause", "Pause", "PreExit hot=0", "Exit"}
			if diff := cmp.Diff(want, callsOf(calls, init.thread)); diff != "" {
				t.Error("(-want +got):\n", diff)
			}
			for _, tag := range []string{"a", "b"} {
				if !strings.Contains(p.Log(), "flbhost: exit of "+tag+" took ") {
					t.Error("no time of the exit of", tag)
				}
			}
		})
	}
}

func TestDefinitionOverrun(t *testing.T) {
	s := newScenario(t, CHost, numbered("a"))
	s.spec.Env = append(s.spec.Env, "FAKE_OVERRUN=1")
	p := s.start()
	exit, err := p.Wait(s.ctx)
	s.check(err)
	if exit != 128+int(syscall.SIGABRT) || !strings.Contains(p.Log(), "wrote to byte 32 of a definition of 32") {
		t.Errorf("status %d, log:\n%s", exit, p.Log())
	}
}

// TestSanitizers runs all that the C host can do under the compiler's checks.
func TestSanitizers(t *testing.T) {
	for _, checks := range []string{"address,undefined", "thread"} {
		t.Run(checks, func(t *testing.T) {
			s := newScenario(t, CHost, numbered("a"), numbered("b"))
			bin, err := buildCHost(s.ctx, filepath.Join(t.TempDir(), "flbhost"), "-g", "-fsanitize="+checks, "-fno-sanitize-recover=all")
			if err != nil {
				t.Skipf("SKIPPED, no -fsanitize=%s here: %v", checks, err)
			}
			p, err := Start(CHost, bin, s.spec)
			s.check(err)
			t.Cleanup(func() { s.check(p.Kill()) })
			for _, command := range []string{"drop a", "pause a", "stall 300", "resume a", "reload"} {
				s.check(p.Command(s.ctx, command))
			}
			n := len(s.records("a"))
			s.until("the new pipeline delivers", func() bool { return len(s.records("a")) > n })
			s.check(p.Command(s.ctx, "pause b")) // so that something is left on its ring
			s.check(p.Command(s.ctx, "exit"))
			exit, err := p.Wait(s.ctx)
			s.check(err)
			if exit != 0 || strings.Contains(p.Log(), "Sanitizer") {
				t.Errorf("status %d, log:\n%s", exit, p.Log())
			}
		})
	}
}
