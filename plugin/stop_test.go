package main

import (
	"os"
	"runtime"
	"testing"
	"time"

	"duo_in/duo/duotest"
)

// TestRoundsLeaveNothing starts and stops a hundred instances in one process, as
// hot reloads do, in turn after they have delivered, while they are paused and
// while their calls hang. In the end there are as many goroutines and
// descriptors as before.
func TestRoundsLeaveNothing(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skipf("no descriptors to count here: %v", err)
	}
	server := duotest.New(duotest.Config{})
	now := time.Now()
	server.Add(duotest.Telephony, duotest.NewRecords(duotest.Telephony, 1, now.Add(-time.Hour), now.Add(-30*time.Minute), 10)...)
	running := server.StartTLS()
	defer running.Close()
	ca, err := running.CAFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	calls := func() int { return server.Count(duotest.Telephony).Calls }
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
		s.exit(1, k)
	}
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for n := range 100 {
		round(n)
	}
	await(t, "as few goroutines and descriptors as before", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
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
