package main

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
)

// An instance that has something to say ends in time, whatever is stuck with it:
// stderr, a poller, a disk. A disk that is slow has all the time there is, also
// while a poller is stuck, and memory that takes a minute to give back.
func TestStopWhileStuck(t *testing.T) {
	const noPoller, noDisk = "a poller has not stopped in time", "could not be saved in time"
	for _, c := range []struct {
		name  string
		write time.Duration // how long the disk takes
		said  map[string]int
	}{
		{"all is stuck", time.Minute, map[string]int{"something to say": 1, noPoller: 1, noDisk: 1}},
		{"the disk is slow", workStop - time.Millisecond, map[string]int{"something to say": 1, noPoller: 1, noDisk: 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, duotest.Config{})
				w.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
				in, file, hold := w.make(), newStuckFile(), make(chan struct{})
				in.lines.stderr = newSink(file)
				in.giveBack = func() { <-hold }
				if err := in.Start(time.Now()); err != nil {
					t.Fatal(err)
				}
				in.Pause(time.Now())
				in.pollers.Go(func() { <-hold })
				in.saver.Go(func() { <-in.ctx.Done(); time.Sleep(c.write) })
				in.log.Warn("something to say")
				begin := time.Now()
				in.Stop(time.Now())
				if took := time.Since(begin); took > workStop+stderrStop {
					t.Errorf("Stop took %v, more than %v", took, workStop+stderrStop)
				}
				close(hold)
				close(file.read)
				time.Sleep(c.write)
				synctest.Wait()
				said := map[string]int{}
				for text := range c.said {
					said[text] = strings.Count(file.String(), text)
				}
				if diff := cmp.Diff(c.said, said); diff != "" {
					t.Errorf("how often was said (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestRoundsLeaveNothing starts and stops a hundred instances in one process, as
// hot reloads do, in turn after they have delivered, while they are paused and
// while their calls hang. In the end there are as many goroutines and
// descriptors as before. Of each kind one exit at least, which no other process
// has held up, takes no longer than Fluent Bit grants.
func TestRoundsLeaveNothing(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skipf("no descriptors to count here: %v", err)
	}
	server, running, ca := startDuo(t)
	s := newSite(t)
	calls := func() int { return server.Count(duotest.Telephony).Calls }
	fastest := [3]time.Duration{time.Hour, time.Hour, time.Hour} // exits, by the kind of their round
	round := func(n int) {
		k, before := newHandle(), calls()
		if n%3 == 2 {
			server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
			defer server.ClearFaults()
		}
		s.start(s.asks(1, k, "api_host "+running.Addr, "integration_key "+duotest.IntegrationKey, "secret_key "+duotest.SecretKey,
			"since 24h", "ca_file "+ca))
		if n%3 == 1 {
			s.Pause(1)
		}
		await(t, "a call", func() bool { return calls() > before })
		s.collected(k)
		fastest[n%3] = min(fastest[n%3], s.end(1, k))
	}
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for n := range 100 {
		round(n)
	}
	await(t, "as few goroutines and descriptors as before", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
	for kind, took := range fastest {
		if took > exitLimit {
			t.Errorf("the fastest exit of kind %d took %v", kind, took)
		}
	}
	t.Logf("%d goroutines, %d descriptors before and after", goroutines, files)
}

func descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
