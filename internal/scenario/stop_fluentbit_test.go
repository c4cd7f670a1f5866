//go:build cgo

package scenario

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

var exitsFluentBit = flag.Int("exits.fluentbit", 2, "times that fluent-bit is told to end while calls hang, each beside one with an idle dummy input")

// Fluent Bit takes at most half a second longer to end than with an input that
// does nothing at all, while every call of ours hangs. Its timers fire at full
// seconds, so that both are told at the same point of one, in turn. A machine that
// is busy makes one of the two late, but not again and again.
func TestExitsOfFluentBit(t *testing.T) {
	b := newBed(t, flbtest.FluentBit, quickDuo)
	b.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
	calls := func() int { return b.server.Count(duotest.Authentication).Calls }
	idle := []flbtest.Option{opt("name", "dummy"), opt("interval_sec", "3600")}
	ours := append(b.input("duo", quick...).Options, opt("name", "duo"))
	var dummy, duo []time.Duration
	for i := range *exitsFluentBit {
		point, more := time.Duration(100+300*(i%3))*time.Millisecond, time.Duration(math.MaxInt64)
		for try := 0; try < 4 && more > exitLimit; try++ {
			before := calls()
			dummy = append(dummy, b.endsIn(point, idle, func() bool { return true }))
			duo = append(duo, b.endsIn(point, ours, func() bool { return calls() > before }))
			if more = duo[len(duo)-1] - dummy[len(dummy)-1]; more > exitLimit {
				t.Logf("told %v after a full second it ends %v later than with an idle dummy input", point, more)
			}
		}
		if more > exitLimit {
			t.Errorf("told %v after a full second it ends %v later than with an idle dummy input, four times: ours %v, dummy %v", point, more, duo, dummy)
		}
	}
	t.Logf("with an idle dummy input %s; with ours, whose calls hang, %s", spread(dummy), spread(duo))
}

// endsIn starts a Fluent Bit with one input, waits for what is to be, and returns
// how long it takes to end when it is told at that point of a second.
func (b *bed) endsIn(point time.Duration, input []flbtest.Option, is func() bool) time.Duration {
	b.t.Helper()
	var lines strings.Builder
	for _, o := range input {
		fmt.Fprintf(&lines, "    %s %s\n", o.Key, o.Value)
	}
	spec := b.spec
	spec.ConfigName = "end.conf"
	spec.Config = "[SERVICE]\n    flush 0.5\n[INPUT]\n" + lines.String() + "[OUTPUT]\n    name null\n    match *\n"
	p := b.startSpec(spec)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.WaitReady(ctx); err != nil {
		b.t.Fatal(err)
	}
	b.waitFor("input at work", time.Minute, is)
	pause(untilPoint(b.t, point))
	took, err := p.Stop(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return took
}

// untilPoint is how long it is to a point of a second by the clock of Fluent
// Bit's timers, which counts from the machine's start.
func untilPoint(t *testing.T, point time.Duration) time.Duration {
	t.Helper()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Skipf("no clock to go by: %v", err)
	}
	var uptime float64
	if _, err := fmt.Sscan(string(text), &uptime); err != nil {
		t.Fatal(err)
	}
	now := time.Duration(uptime * float64(time.Second))
	return (point - now%time.Second + time.Second) % time.Second
}
