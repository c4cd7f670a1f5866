package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/checkpoint"
	"duo_in/duo/duotest"
)

var defaultLogs = []string{"authentication", "activity", "telephony"}

// provider is a world whose account has children.
func newProvider(t *testing.T, c duotest.Config, children int) *world {
	w := newWorld(t, c)
	w.set["accounts"], w.set["logs"] = "all", ""
	for i := range children {
		w.server.AddChild(childNo(i))
	}
	return w
}

func childNo(n int) duotest.Child {
	return duotest.Child{ID: fmt.Sprintf("DA%03d", n), Name: fmt.Sprint("Example ", n), Host: fmt.Sprintf("api-%08d.duosecurity.com", n+1)}
}

// file gives each log of a child n small events of the time between from and to ago.
func file(a *duotest.Account, seed uint64, from, to time.Duration, n int) {
	now := time.Now()
	for i, log := range defaultLogs {
		a.Add(log, duotest.NewGenerator(log, seed*10+uint64(i), small).Spread(now.Add(-from), now.Add(-to), n)...)
	}
}

// checkChild compares what came of a child, which may have been elsewhere
// before, with what it holds.
func (w *world) checkChild(a *duotest.Account, before ...string) {
	w.t.Helper()
	of := []string{a.ID + " at " + a.Host}
	for _, host := range before {
		of = append(of, a.ID+" at "+host)
	}
	got := map[string]int{}
	for id, origin := range w.origin {
		if slices.Contains(of, origin) {
			got[id[:strings.LastIndex(id, "-")]] += w.events[id]
		}
	}
	want := map[string]int{}
	for _, log := range defaultLogs {
		for _, id := range a.IDs(log) {
			want[id]++
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s: how often each event came (-want +got):\n%.2000s", of, diff)
	}
}

// checkCalls reports calls that are not addressed as they must be, but for one
// child's.
func (w *world) checkCalls(but string) {
	w.t.Helper()
	for _, c := range w.server.Calls() {
		if c.Account == but {
			continue
		}
		isList := c.Path == "/accounts/v1/account/list"
		if c.Astray || isList != (c.Account == "") || c.Signature != "sha512" {
			w.t.Errorf("call %+v", c)
		}
	}
}

// said counts the log lines with a text.
func (w *world) said(text string) int { return strings.Count(w.stderr.String(), text) }

// TestChildAccounts: twenty children, one that may not be read, one that comes,
// one that goes and one that moves while the input runs; each one's events come
// once, at any time, and the others never hear of it.
func TestChildAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newProvider(t, duotest.Config{}, 20)
		var children []*duotest.Account
		for i := range 20 {
			children = append(children, w.server.Child(childNo(i).ID))
			file(children[i], uint64(i), 20*time.Hour, 3*time.Minute, 40)
		}
		forbidden, gone, moved := children[7], children[8], children[9]
		forbidden.SetPermissions(false)
		in := w.start()
		w.run(in, 3*time.Minute, nil)

		children = append(children, w.server.AddChild(childNo(20)))
		file(children[20], 20, 20*time.Hour, 3*time.Minute, 40)
		w.server.RemoveChild(gone.ID)
		w.server.RemoveChild(moved.ID)
		there := w.server.AddChild(duotest.Child{ID: moved.ID, Host: "api-99999999.duosecurity.com"})
		w.run(in, 15*time.Minute, nil)
		file(there, 99, 6*time.Minute, 3*time.Minute, 10)
		for i, a := range children[:20] {
			file(a, 100+uint64(i), 6*time.Minute, 3*time.Minute, 5)
		}
		w.run(in, 15*time.Minute, nil)
		w.stop(in)
		for i, line := range []string{
			"service provider: 20 accounts, 60 streams; new: DA000, DA001, DA002, DA003, DA004, DA005, DA006, DA007, DA008, DA009 and 10 more\n",
			"service provider: 20 accounts, 60 streams; new: DA020; gone, their checkpoints are kept: DA008\n",
		} {
			if w.said(line) != 1 {
				t.Errorf("line %d: not said once: %s", i, line)
			}
		}
		// Of the one that went and the one that moved Duo says so before the list does.
		if n := w.said("of DA007: Duo denies access"); n != 3 || w.said("[ warn]")+w.said("[error]") != n+w.said("DA008: Duo denies access")+w.said("DA009: Duo refuses the keys") {
			t.Errorf("that one may not be read was said %d times, want 3, and nothing else\n%.4000s", n, w.stderr)
		}

		// What was saved is the end: after a restart only what is new comes.
		forbidden.SetPermissions(true)
		in = w.start()
		w.run(in, 15*time.Minute, nil)
		w.stop(in)
		w.checkCalls(moved.ID)
		for _, c := range there.Calls() {
			if c.Host != moved.Host && c.Host != there.Host {
				t.Errorf("call %+v", c)
			}
		}
		for _, a := range children {
			switch a {
			case gone, moved:
			default:
				w.checkChild(a)
			}
		}
		w.checkChild(there, moved.Host)
	})
}

// TestChildThatGoesAndComesBack: it goes while its events wait in the queue, or
// for a place in it, and is let in again; nothing is missing or comes twice, not
// even where the input is started anew before it is back.
func TestChildThatGoesAndComesBack(t *testing.T) {
	for _, between := range []string{"running on", "restarted", "restarted while it is away"} {
		t.Run(between, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newProvider(t, duotest.Config{}, 2)
				w.set["poll_interval"], w.queue = "10s", 1<<20
				here, away := w.server.Child("DA000"), w.server.Child("DA001")
				file(here, 1, 20*time.Hour, 3*time.Minute, 1500)
				file(away, 2, 20*time.Hour, 3*time.Minute, 1500)
				in := w.start()
				w.pause(in)
				w.run(in, 5*time.Minute, nil)
				w.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, N: -1, Match: func(c duotest.Call) bool { return c.Account == "" }, Rewrite: func([]byte) []byte {
					return []byte(`{"response": [{"account_id": "DA000", "api_hostname": "api-00000001.duosecurity.com"}], "stat": "OK"}`)
				}})
				w.run(in, 15*time.Minute, nil)
				if w.said("gone, their checkpoints are kept: DA001") != 1 {
					t.Fatalf("log:\n%s", w.stderr)
				}
				calls := len(away.Calls())
				w.resume(in)
				w.run(in, 5*time.Minute, nil)
				if n := len(away.Calls()) - calls; n > 0 {
					t.Errorf("%d calls for a child that is gone", n)
				}
				if between != "running on" {
					w.stop(in)
					in = w.start()
				}
				if between == "restarted while it is away" {
					w.run(in, 5*time.Minute, nil)
				}
				w.server.ClearFaults()
				file(away, 3, time.Minute, 0, 100)
				w.run(in, 20*time.Minute, nil)
				w.stop(in)
				w.checkChild(here)
				w.checkChild(away)
				w.checkCalls("")
			})
		})
	}
}

// TestChildWithBrokenCheckpoint: that stream says so, and is taken up when it
// has been mended; all others run.
func TestChildWithBrokenCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newProvider(t, duotest.Config{}, 3)
		in := w.start()
		w.run(in, 5*time.Second, nil)
		w.stop(in)
		var children []*duotest.Account
		for i := range 3 {
			children = append(children, w.server.Child(childNo(i).ID))
			file(children[i], uint64(i), 20*time.Hour, 3*time.Minute, 10)
		}
		path := filepath.Join(w.set["checkpoint_dir"], "api-00000000.duosecurity.com", "DA001", "activity.json")
		for _, f := range []string{path, path + ".prev"} {
			if err := os.WriteFile(f, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		in = w.start()
		w.run(in, 11*time.Minute, nil)
		w.checkChild(children[0])
		w.checkChild(children[2])
		if n := w.said("activity of DA001: not pulled: checkpoint " + path); n != 3 {
			t.Errorf("said %d times in 11 minutes:\n%s", n, w.stderr)
		}
		for _, f := range []string{path, path + ".prev"} {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		w.run(in, 6*time.Minute, nil)
		w.stop(in)
		w.checkChild(children[1])
	})
}

// TestListedAccounts: several inputs share the children; ids that are not there
// are said once; who has all has them alone.
func TestListedAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newProvider(t, duotest.Config{}, 4)
		for i := range 4 {
			file(w.server.Child(childNo(i).ID), uint64(i), 20*time.Hour, 3*time.Minute, 10)
		}
		w.set["accounts"] = "DA000, DA009, DA001"
		first := w.start()
		refused := func(accounts, want string) {
			t.Helper()
			w.set["accounts"] = accounts
			in := w.make()
			err := in.Start(time.Now())
			var locked *checkpoint.LockedError
			if !errors.As(err, &locked) || locked.PID != os.Getpid() || !strings.Contains(err.Error(), want) {
				t.Errorf("accounts %s: got %v, want a LockedError of %s", accounts, err, want)
			}
		}
		refused("all", ".accounts.authentication.lock")
		refused("DA002, DA001", "DA001/authentication.lock")
		w.set["accounts"] = "DA002"
		second := w.start()
		w.run(first, 12*time.Minute, nil)
		if got := w.said("account DA009 is not in the list, so that nothing of it is pulled; is the id right, capital letters too?"); got != 1 {
			t.Errorf("a missing id was said %d times", got)
		}
		w.server.AddChild(childNo(9))
		file(w.server.Child("DA009"), 9, 20*time.Hour, 3*time.Minute, 10)
		w.run(first, 12*time.Minute, nil)
		w.run(second, time.Minute, nil)
		w.server.RemoveChild("DA009")
		w.run(first, 12*time.Minute, nil)
		if got := w.said("account DA009 is not in the list, so that nothing of it is pulled; is the id right, capital letters too?"); got != 2 {
			t.Errorf("an id that went missing again was said %d times in all", got)
		}
		w.stop(first)
		w.stop(second)
		for _, id := range []string{"DA000", "DA001", "DA002"} {
			w.checkChild(w.server.Child(id))
		}
		if n := len(w.server.Child("DA003").Calls()); n > 0 {
			t.Errorf("%d calls for a child that was not named", n)
		}
		w.set["accounts"] = "all"
		w.stop(w.start())
	})
}

// TestProviderStartsOffline: no network is no reason to fail, nor to stop late;
// once it is there everything comes.
func TestProviderStartsOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newProvider(t, duotest.Config{}, 3)
		for i := range 3 {
			file(w.server.Child(childNo(i).ID), uint64(i), 20*time.Hour, 3*time.Minute, 10)
		}
		w.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
		in := w.start()
		w.run(in, 20*time.Minute, nil)
		if n := w.said("list of child accounts: Duo cannot be reached"); n != 1 {
			t.Errorf("said %d times:\n%s", n, w.stderr)
		}
		began := time.Now()
		in.Stop(time.Now())
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("Stop took %v", took)
		}
		in = w.start()
		w.run(in, time.Minute, nil)
		w.server.ClearFaults()
		w.run(in, 5*time.Minute, nil)
		w.stop(in)
		for i := range 3 {
			w.checkChild(w.server.Child(childNo(i).ID))
		}
	})
}

// TestHangingChildren: most children hang until their calls time out. The others
// are polled as if they did not exist, once those are known, and almost so before.
func TestHangingChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const children, healthy = 120, 20
		w := newProvider(t, duotest.Config{}, children)
		w.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1, Match: func(c duotest.Call) bool { return c.Account >= childNo(healthy).ID }})
		in := w.start()
		long := 30 * time.Minute
		if underRace {
			long /= 3
		}
		for _, phase := range []struct{ length, pause time.Duration }{{4 * time.Minute, 150 * time.Second}, {long, 65 * time.Second}} {
			begin, last := time.Now(), map[string]time.Time{}
			w.run(in, phase.length, nil)
			var worst time.Duration
			for _, c := range w.server.Calls() {
				if c.Account == "" || c.Account >= childNo(healthy).ID || c.At.Before(begin) {
					continue
				}
				before, ok := last[c.Account+c.Log]
				if !ok {
					before = begin
				}
				worst = max(worst, c.At.Sub(before))
				last[c.Account+c.Log] = c.At
			}
			t.Logf("%v: longest pause %v", phase.length, worst)
			if len(last) != healthy*3 || worst > phase.pause {
				t.Errorf("%d streams, the longest pause %v; want %d and at most %v", len(last), worst, healthy*3, phase.pause)
			}
		}
		began := time.Now()
		in.Stop(time.Now())
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("Stop took %v", took)
		}
	})
}

// wall is the time that passes outside of the bubble.
func wall(t *testing.T) time.Time {
	var tv syscall.Timeval
	if err := syscall.Gettimeofday(&tv); err != nil {
		t.Fatal(err)
	}
	return time.Unix(tv.Unix())
}

// resident is the memory of the process, in bytes.
func resident(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

var manyChildren = flag.Int("children", 80, "how many child accounts TestHundredsOfChildren has; the race detector takes minutes over 500")

// TestHundredsOfChildren: many children with three logs each, in one process. No
// poll comes later than its interval and 5 s, the first ones included, and all
// stops in time.
func TestHundredsOfChildren(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	synctest.Test(t, func(t *testing.T) {
		const minutes = 3
		children := *manyChildren
		w := newProvider(t, duotest.Config{Latency: 100 * time.Millisecond}, children)
		w.stderr = &lockedBuffer{}
		for i := range children {
			file(w.server.Child(childNo(i).ID), uint64(i), 10*time.Hour, 3*time.Minute, 3)
		}
		runtime.GC()
		before, begin := resident(t), time.Now()
		in := w.start()
		last := map[string]time.Time{}
		var worst time.Duration
		busiest := 0
		w.run(in, minutes*time.Minute, func(tick int) {
			if tick%240 != 239 {
				return
			}
			calls := w.server.Calls() // the last 10,000, of which a minute has 1,500
			for _, c := range calls {
				key := c.Account + c.Log
				if before, ok := last[key]; c.Account != "" && (!ok || c.At.After(before)) {
					if !ok {
						before = begin
					}
					worst = max(worst, c.At.Sub(before))
					last[key] = c.At
				}
			}
		})
		seconds := map[int64]int{}
		for _, c := range w.server.Calls() {
			seconds[c.At.Unix()]++
		}
		busiest = slices.Max(slices.Collect(maps.Values(seconds)))
		used := resident(t)
		in.Pause(time.Now())
		w.run(in, time.Second, nil)
		began, began2 := wall(t), time.Now()
		in.Stop(time.Now())
		took := wall(t).Sub(began) + time.Since(began2)
		t.Logf("%d streams, longest pause %v, most calls in a second %d; resident %d MiB, %d MiB before, with the simulated Duo in it; Stop took %v without its deadlines, whose clock stands still",
			len(last), worst, busiest, used>>20, before>>20, took)
		if len(last) != children*3 || worst > 65*time.Second {
			t.Errorf("%d streams, the longest pause %v; want %d and at most 65 s", len(last), worst, children*3)
		}
		for i := range children {
			w.checkChild(w.server.Child(childNo(i).ID))
		}
	})
}

// TestStopWithALongListToSave: the saver, which may be in the middle of hundreds
// of cursors, gives back to the stop what it has not begun with; else the stop
// would run out of time before what it saves first.
func TestStopWithALongListToSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const children = 20
		w := newProvider(t, duotest.Config{}, children)
		for i := range children {
			file(w.server.Child(childNo(i).ID), uint64(i), 20*time.Hour, 3*time.Minute, 5)
		}
		in := w.start()
		w.run(in, time.Second, nil)
		for range diskCalls {
			in.disk <- struct{}{} // the disk is busy
		}
		w.run(in, 2*time.Minute, nil)
		in.Pause(time.Now())
		in.cancel()
		began := time.Now()
		in.saver.Wait()
		if took := time.Since(began); took > 0 {
			t.Errorf("the saver went on for %v", took)
		}
		for range diskCalls {
			<-in.disk
		}
		in.Pause(time.Now())
		in.Stop(time.Now())
		w.stop(w.start())
		in = w.start()
		w.run(in, 2*time.Minute, nil)
		w.stop(in)
		for i := range children {
			w.checkChild(w.server.Child(childNo(i).ID))
		}
	})
}
