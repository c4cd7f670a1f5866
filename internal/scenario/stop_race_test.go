//go:build cgo

package scenario

import (
	"context"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// All that a host does to the plugin, with the race detector in the host: live
// events, pauses, dropped appends, reloads, two inputs, and an end while a call
// hangs. A race ends the host at once.
func TestRaces(t *testing.T) {
	t.Parallel()
	b := newBed(t, flbtest.CHost, quickDuo)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	host, err := flbtest.BuildRaceHost(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	spec := b.spec
	spec.Plugin, spec.Env = flbtest.LinkedIn, []string{"GORACE=halt_on_error=1"}
	spec.HotReload, spec.Grace, spec.CollectEvery = true, 200*time.Millisecond, 50*time.Millisecond
	one := b.input("one", append(quick, opt("logs", "authentication"), opt("settle", "500ms"))...)
	two := b.input("two", append(quick, opt("logs", "activity,telephony"), opt("settle", "500ms"))...)
	spec.Inputs = []flbtest.Input{one, two}
	l := b.startLoad(gap, 60)
	p := b.startHost(host, spec)
	b.ready(p)
	d1, d2 := b.delivery("one"), b.delivery("two")
	for range 2 {
		seen := d1.update()
		b.waitFor("live records", time.Minute, func() bool { return d1.update() > seen })
		b.command(p, "pause one")
		b.command(p, "drop two")
		pause(200 * time.Millisecond)
		b.command(p, "resume one")
		b.command(p, "reload")
	}
	l.end()
	d1.awaitAll(time.Minute, duotest.Authentication)
	d2.awaitAll(time.Minute, duotest.Activity, duotest.Telephony)
	calls := b.server.Count(duotest.Activity).Calls
	b.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
	b.waitFor("call that hangs", time.Minute, func() bool { return b.server.Count(duotest.Activity).Calls > calls })
	b.stop(p)
	if log := p.Log(); strings.Contains(log, "DATA RACE") {
		t.Error(log)
	}
}
