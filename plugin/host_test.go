package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
)

// site is a host and a folder for checkpoints. In a synctest bubble it also
// holds that nothing is left running: the bubble would not end.
type site struct {
	*host
	t    *testing.T
	dir  string
	said []string // the log, as level and text, of all Inits
}

func newSite(t *testing.T) *site {
	s := &site{host: newHost(), t: t, dir: t.TempDir()}
	s.Register(os.Getpid())
	return s
}

// quiet are settings that call nobody for a minute: there is nothing to ask for
// yet. In checkpoint_dir DIR stands for the site's folder.
const quiet = `
	api_host 127.0.0.1:1
	integration_key DI0000000000000000000
	secret_key 0123456789abcdefghijklmnopqrstuvwxyz0123
	since now
	logs telephony
	checkpoint_dir DIR
`

// newHandle is what a host from 4.1 on keeps for an instance.
func newHandle() handle { return handle(unsafe.Pointer(new(bell))) }

// asks is an [INPUT] with its settings, of which the first of two equal ones
// counts, on a thread.
func (s *site) asks(th thread, k handle, settings ...string) caller {
	get := config(strings.ReplaceAll(strings.Join(append(settings, quiet), "\n"), "DIR", s.dir))
	return caller{pid: os.Getpid(), thread: th, handle: k, get: get, level: slog.LevelInfo, print: s.print}
}

func (s *site) print(l line) {
	s.said = append(s.said, levelName(l.level)+" "+strings.ReplaceAll(l.text, s.dir, "DIR"))
}

// start begins an instance that must begin.
func (s *site) start(c caller) {
	s.t.Helper()
	s.said = nil
	if !s.Init(c) {
		s.t.Fatalf("Init failed:\n%s", strings.Join(s.said, "\n"))
	}
}

// errors returns what was said as an error.
func (s *site) errors() (out []string) {
	for _, l := range s.said {
		if text, ok := strings.CutPrefix(l, "error "); ok {
			out = append(out, text)
		}
	}
	return out
}

// feed queues n bytes with an instance, which count as no event.
func (s *site) feed(k handle, n int) {
	s.t.Helper()
	s.feedEvents(k, n, 0)
}

// feedEvents queues n bytes with an instance, which count as so many events.
func (s *site) feedEvents(k handle, n, count int) {
	s.t.Helper()
	in := s.find(k).instance
	b := events("", n)
	b.events = count
	b.stream = in.key("", in.options.Logs[0])
	fill(s.t, in.queue, b)
}

// collected returns how many bytes an instance hands over.
func (s *site) collected(k handle) (n int) {
	for _, part := range s.Collect(k) {
		n += len(part)
	}
	s.Release(k)
	return n
}

// exitLimit is what Fluent Bit grants.
const exitLimit = 500 * time.Millisecond

// exit ends the thread's instance, within what Fluent Bit grants, and checks
// whose it was. It is for a bubble: elsewhere an Exit also takes what the machine
// does meanwhile.
func (s *site) exit(th thread, k handle) {
	s.t.Helper()
	if took := s.end(th, k); took > exitLimit {
		s.t.Errorf("Exit on thread %d took %s", th, took)
	}
}

// end is exit outside of a bubble: it returns how long that took.
func (s *site) end(th thread, k handle) time.Duration {
	s.t.Helper()
	start := time.Now()
	if s.Exit(th); s.find(k) != nil {
		s.t.Errorf("Exit on thread %d is not that of handle %p", th, k)
	}
	return time.Since(start)
}

func TestHostSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		if !s.Init(s.asks(1, k, "delay 1m")) {
			t.Fatal("Init failed")
		}
		said := s.said // before Init returned: what comes later is not in it
		want := []string{
			"info [input:duo:duo.0] duo_in " + version,
			"warn [input:duo:duo.0] delay 1m0s: Duo's logs are consistent only after 2m; events filed later than delay and overlap together can be missed",
			`warn [input:duo:duo.0] api_host "127.0.0.1:1" is not one of Duo's own; that is right only for a gateway or a test server`,
			"info [input:duo:duo.0] telephony: no checkpoint yet; beginning at 2000-01-01T00:00:00.000Z (since now)",
		}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		s.exit(1, k)
	})
}

// TestHostSaysProblems gives each problem a line of its own, in a bubble, where none is overdue.
func TestHostSaysProblems(t *testing.T) { synctest.Test(t, hostSaysProblems) }

func hostSaysProblems(t *testing.T) {
	s := newSite(t)
	if s.Init(s.asks(1, newHandle(), "logs radius\nformat text\nsettle 1h")) {
		t.Fatal("Init passed")
	}
	want := []string{
		"info [input:duo:duo.0] duo_in " + version,
		`error [input:duo:duo.0] logs "radius": there is no log "radius"; the logs are authentication, activity, telephony, trust_monitor, administrator, offline_enrollment, telephony_v1`,
		`error [input:duo:duo.0] settle "1h": give a duration from 500ms to 1m`,
		`error [input:duo:duo.0] format "text": there is no such format; use json, flat, raw, cef`,
	}
	if diff := cmp.Diff(want, s.said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHostRefuses has some instances run and another one be refused. Then, with
// the cause gone, the same one must start at once.
func TestHostRefuses(t *testing.T) {
	k := []handle{newHandle(), newHandle()}
	for _, c := range []struct {
		name    string
		running func(*site) []caller
		refused func(*site) caller
		mended  func(*site, caller) caller
		want    string
	}{
		{
			name:    "a daemon",
			refused: func(s *site) caller { c := s.asks(1, k[0]); c.pid++; return c },
			mended:  func(_ *site, c caller) caller { c.pid--; return c },
			want:    "[input:duo:duo.0] daemon mode: Go plugins cannot run in a Fluent Bit that puts itself into the background; take daemon (-d) out and let a service manager do it",
		},
		{
			name:    "a second input of an old host",
			running: func(s *site) []caller { return []caller{s.asks(1, nil)} },
			refused: func(s *site) caller { return s.asks(2, nil, "logs activity") },
			mended:  func(s *site, c caller) caller { s.exit(1, nil); return c },
			want:    "[input:duo:duo.1] this Fluent Bit is older than 4.1 and can have one duo input only: put the logs into one [INPUT], or use a newer Fluent Bit",
		},
		{
			name:    "a second input on one thread",
			running: func(s *site) []caller { return []caller{s.asks(1, k[0])} },
			refused: func(s *site) caller { return s.asks(1, k[1], "logs activity") },
			mended:  func(_ *site, c caller) caller { c.thread = 2; return c },
			want:    "[input:duo:duo.1] several duo inputs need a thread each: take threaded off out of them",
		},
		{
			name:    "a wrong option",
			refused: func(s *site) caller { return s.asks(1, k[0], "since tomorrow") },
			mended:  func(s *site, _ caller) caller { return s.asks(1, k[0]) },
			want:    `[input:duo:duo.0] since "tomorrow": give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now`,
		},
		{
			name:    "no folder",
			refused: func(s *site) caller { return s.asks(1, k[0], "checkpoint_dir /dev/null/duo") },
			mended:  func(s *site, _ caller) caller { return s.asks(1, k[0]) },
			want:    fmt.Sprintf(`[input:duo:duo.0] checkpoint folder "/dev/null/duo": stat /dev/null/duo: not a directory: set checkpoint_dir to a folder, on a volume that lasts, that user id %d can write to`, os.Geteuid()),
		},
		{
			// The first of the two logs is free, and must be so again.
			name:    "a log that another one pulls",
			running: func(s *site) []caller { return []caller{s.asks(1, k[0], "logs telephony")} },
			refused: func(s *site) caller { return s.asks(2, k[1], "logs activity, telephony") },
			mended:  func(s *site, _ caller) caller { return s.asks(2, k[1], "logs activity") },
			want: fmt.Sprintf("[input:duo:duo.1] telephony: lock checkpoint of 127.0.0.1/self/telephony: DIR/127.0.0.1/self/telephony.lock is held by [INPUT] duo.0, pid %d: "+
				"let only one of the two pull this log, or set a checkpoint_dir of its own for this one", os.Getpid()),
		},
		{
			name:    "no usable checkpoint",
			refused: func(s *site) caller { s.spoil("telephony"); return s.asks(1, k[0]) },
			mended:  func(s *site, c caller) caller { s.remove("telephony"); return c },
			want: "[input:duo:duo.0] telephony: checkpoint DIR/127.0.0.1/self/telephony.json cannot be used: torn, or not a checkpoint: unexpected end of JSON input; " +
				"nor can telephony.json.prev: open DIR/127.0.0.1/self/telephony.json.prev: no such file or directory: " +
				`restore one of them from a backup, or remove both to begin again from "since"`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				if c.running != nil {
					for _, r := range c.running(s) {
						s.start(r)
					}
				}
				start := time.Now()
				s.said = nil
				refused := c.refused(s)
				if s.Init(refused) {
					t.Fatal("Init passed")
				}
				if diff := cmp.Diff([]string{c.want}, s.errors()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				s.start(c.mended(s, refused))
				if waited := time.Since(start); waited != 0 {
					t.Errorf("the two Inits waited for %s", waited)
				}
				for th := range s.byThread {
					s.exit(th, s.byThread[th].handle)
				}
			})
		})
	}
}

func (s *site) checkpointFile(log string) string {
	return filepath.Join(s.dir, "127.0.0.1", "self", log+".json")
}

// spoil puts half a checkpoint in a log's place.
func (s *site) spoil(log string) {
	s.t.Helper()
	path := s.checkpointFile(log)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"version": 1, "stream"`), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) remove(log string) {
	s.t.Helper()
	if err := os.Remove(s.checkpointFile(log)); err != nil {
		s.t.Fatal(err)
	}
}

// TestHostRoutes runs two instances: Collect and Release come with a handle,
// the other calls only on a thread.
func TestHostRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := newSite(t), newHandle(), newHandle()
		s.start(s.asks(1, a, "logs telephony"))
		s.start(s.asks(2, b, "logs activity"))
		for i, c := range []struct {
			call  func()
			wantA int // bytes that Collect gives
			wantB int
		}{
			{func() {}, 10, 20},
			{func() { s.Pause(1) }, 0, 20},
			{func() { s.Pause(2) }, 0, 0},
			{func() { s.Resume(1) }, 30, 0}, // with what waited
			{func() { s.Resume(2) }, 10, 60},
			{func() { s.Pause(3); s.Pause(0) }, 10, 20}, // nobody's threads
			{func() { s.Pause(1); s.Pause(1); s.Resume(1) }, 10, 20},
		} {
			s.feed(a, 10)
			s.feed(b, 20)
			c.call()
			if gotA, gotB := s.collected(a), s.collected(b); gotA != c.wantA || gotB != c.wantB {
				t.Errorf("step %d: %d and %d bytes, want %d and %d", i, gotA, gotB, c.wantA, c.wantB)
			}
		}
		s.exit(3, nil) // nobody's
		s.exit(2, b)
		s.feed(a, 10)
		if got := s.collected(a); got != 10 {
			t.Errorf("after the other's Exit there are %d bytes, want 10", got)
		}
		s.exit(1, a)
	})
}

// TestHostForgets calls an instance that has ended, as a host may while it ends
// itself, and then uses its thread and its logs again.
func TestHostForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		s.start(s.asks(1, k))
		s.feed(k, 10)
		s.exit(1, k)
		if got := s.Collect(k); got != nil {
			t.Errorf("Collect gives %v", got)
		}
		s.Release(k)
		s.Pause(1)
		s.Resume(1)
		s.exit(1, nil)
		if len(s.byHandle) != 0 || len(s.byThread) != 0 {
			t.Errorf("the host keeps %d handles and %d threads", len(s.byHandle), len(s.byThread))
		}
		start := time.Now()
		s.start(s.asks(1, k))
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the second Init waited for %s", waited)
		}
		s.exit(1, k)
	})
}

// TestHostOfOneInput calls a single instance on other threads than that of its
// Init, as a host with threaded off may, and without a handle, as before 4.1.
func TestHostOfOneInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.start(s.asks(1, nil))
		s.feed(nil, 10)
		s.Pause(2)
		if got := s.collected(nil); got != 0 {
			t.Errorf("while paused there are %d bytes", got)
		}
		s.Resume(3)
		if got := s.collected(nil); got != 10 {
			t.Errorf("there are %d bytes, want 10", got)
		}
		s.exit(4, nil)
		if len(s.byThread) != 0 {
			t.Error("Exit did not reach the instance")
		}
	})
}

// TestHostReload is a SIGHUP with two inputs: the library is registered again
// before the old instances end, and their threads' ids come again.
func TestHostReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := newSite(t), newHandle(), newHandle()
		s.start(s.asks(1, a, "logs telephony"))
		s.start(s.asks(2, b, "logs activity"))
		time.Sleep(10 * time.Second)

		s.Register(os.Getpid())
		for _, th := range []thread{1, 2} {
			s.Pause(th)
			s.Pause(th)
		}
		s.exit(1, a)
		s.exit(2, b)

		// Now with the logs changed over.
		c, d := newHandle(), newHandle()
		start := time.Now()
		s.start(s.asks(2, c, "logs telephony"))
		want := "info [input:duo:duo.0] telephony: going on at 2000-01-01T00:00:00.000Z, from the checkpoint of 2000-01-01T00:00:00Z (the option since applies only without one)"
		if diff := cmp.Diff(want, s.said[len(s.said)-1]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		s.start(s.asks(1, d, "logs activity"))
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the new Inits waited for %s", waited)
		}
		s.feed(c, 10)
		s.feed(d, 20)
		if gotC, gotD := s.collected(c), s.collected(d); gotC != 10 || gotD != 20 {
			t.Errorf("the new ones are paused: %d and %d bytes, want 10 and 20", gotC, gotD)
		}
		s.exit(1, d)
		s.exit(2, c)
	})
}

// TestHostUnreachable ends an instance whose pollers are backing off. Nobody
// has collected its log lines meanwhile.
func TestHostUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		s.start(s.asks(1, k, "logs all", "since 24h"))
		l, stderr := s.find(k).lines, &lockedBuffer{}
		l.mu.Lock()
		l.stderr = newSink(stderr)
		l.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := s.Collect(k); got != nil {
			t.Errorf("Collect gives %d parts", len(got))
		}
		// The first trouble may have come before Init returned.
		said := strings.Join(s.said, "\n") + "\n" + stderr.String()
		for _, log := range []string{"authentication", "activity", "telephony"} {
			if got := strings.Count(said, " [input:duo:duo.0] "+log+": Duo cannot be reached: "); got != 1 {
				t.Errorf("%s: the trouble is said %d times, want once:\n%s", log, got, said)
			}
		}
		s.exit(1, k)
	})
}

// TestHostInitHoldsNobodyUp has one Init take its time, as one that waits for a
// lock does: the callbacks of the others must not wait for it.
func TestHostInitHoldsNobodyUp(t *testing.T) {
	s, a, b := newSite(t), newHandle(), newHandle()
	s.start(s.asks(1, a, "logs telephony"))
	defer s.end(1, a)

	slow, inside, goOn := s.asks(2, b, "logs activity"), make(chan struct{}), make(chan struct{})
	slow.print = func(line) {}
	get, pause := slow.get, sync.OnceFunc(func() { close(inside); <-goOn })
	slow.get = func(name string) string { pause(); return get(name) }
	var init sync.WaitGroup
	init.Go(func() { s.Init(slow) })
	<-inside
	collected := make(chan struct{})
	go func() { defer close(collected); s.Collect(a); s.Release(a); s.Pause(1); s.Resume(1) }()
	select {
	case <-collected:
	case <-time.After(awaitLimit): // they would wait for goOn, so for ever
		t.Error("the callbacks wait for another instance's Init")
	}
	close(goOn)
	init.Wait()
	<-collected
	s.end(2, b)
}

// startDuo serves ten telephony records of an hour ago over TLS, whose root is in
// the file ca.
func startDuo(t *testing.T) (server *duotest.Server, running *duotest.Running, ca string) {
	t.Helper()
	server = duotest.New(duotest.Config{})
	now := time.Now()
	server.Add(duotest.Telephony, duotest.NewRecords(duotest.Telephony, 1, now.Add(-time.Hour), now.Add(-30*time.Minute), 10)...)
	running = server.StartTLS()
	t.Cleanup(running.Close)
	ca, err := running.CAFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return server, running, ca
}

// TestHostExitHangsUp holds that an instance takes its connections along, since
// the process may live on for months with others.
func TestHostExitHangsUp(t *testing.T) {
	_, running, ca := startDuo(t)
	s, k := newSite(t), newHandle()
	s.start(s.asks(1, k, "api_host "+running.Addr, "integration_key "+duotest.IntegrationKey, "secret_key "+duotest.SecretKey,
		"since 24h", "ca_file "+ca))
	await(t, "events", func() bool { return s.collected(k) > 0 })
	if connections() == 0 {
		t.Fatal("there is no connection: this test would see none left")
	}
	s.end(1, k)
	await(t, "the end of the connections", func() bool { return connections() == 0 })
}

// connections counts the HTTP client's connections in this process, by the
// goroutines that read them.
func connections() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "net/http.(*persistConn).readLoop(")
}

// awaitLimit is when what has not come is taken not to come, however busy the
// machine is.
const awaitLimit = time.Minute

// await polls a condition.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(awaitLimit); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestHostConcurrent has three inputs come, work and go at the same time, each
// on a thread of its own.
func TestHostConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var threads sync.WaitGroup
		for i, log := range []string{"authentication", "activity", "telephony"} {
			threads.Go(func() {
				th := thread(i + 1)
				for range 5 {
					k := newHandle()
					c := s.asks(th, k, "logs "+log)
					c.print = func(line) {}
					if !s.Init(c) {
						t.Errorf("Init of %s failed", log)
						return
					}
					for range 10 {
						s.feed(k, 10)
						s.Pause(th)
						s.Resume(th)
						if got := s.collected(k); got != 10 {
							t.Errorf("%s: %d bytes, want 10", log, got)
						}
						time.Sleep(time.Second)
					}
					s.exit(th, k)
				}
			})
		}
		threads.Wait()
	})
}

func TestSplit(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	for _, row := range []struct {
		name string
		err  error
		want []string
	}{
		{"one", a, []string{"a"}},
		{"joined", errors.Join(a, b), []string{"a", "b"}},
		{"joined twice", errors.Join(a, errors.Join(b, c)), []string{"a", "b", "c"}},
		{"named", fmt.Errorf("logs: %w", a), []string{"logs: a"}},
		{"named after being joined", fmt.Errorf("logs: %w", errors.Join(a)), []string{"logs: a"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, err := range split(row.err) {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
