//go:build cgo

package scenario

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// A host whose main thread hangs, so that its ring is not emptied, and that is
// killed then, as a supervisor does: what it had not taken comes again, and
// nothing else does.
func TestHangAndKill(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, command string }{
		{"the ring is not emptied", "stall 600000"},
		{"a filter hangs", "hang 600000"},
	} {
		t.Run(flbtest.CHost.String()+"/"+tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, flbtest.CHost, quickDuo)
			b.spec.CollectEvery = 100 * time.Millisecond
			in := b.input("duo", append(quick, opt("settle", "500ms"))...)
			b.hangAndKill(b.specOf(in), in, func(p *flbtest.Process) { b.command(p, tc.command) }, func() {})
		})
	}
	// The filter's output goes into a pipe that nobody empties any more.
	t.Run(flbtest.FluentBit.String(), func(t *testing.T) {
		t.Parallel()
		b := newBed(t, flbtest.FluentBit, quickDuo)
		in := b.input("duo", quick...)
		spec := b.specOf(in)
		spec.Filters = [][]flbtest.Option{{opt("name", "stdout"), opt("match", "*")}}
		g := &gate{}
		spec.Stdout = g
		b.hangAndKill(spec, in, func(*flbtest.Process) { g.Lock() }, g.Unlock)
	})
}

// gate lets all that is written through, and goes nowhere, unless it is locked.
type gate struct{ sync.Mutex }

func (g *gate) Write(b []byte) (int, error) {
	g.Lock()
	defer g.Unlock()
	return len(b), nil
}

// specOf is the bed's spec with inputs.
func (b *bed) specOf(inputs ...flbtest.Input) flbtest.Spec {
	spec := b.spec
	spec.Inputs = inputs
	return spec
}

func (b *bed) hangAndKill(spec flbtest.Spec, in flbtest.Input, hang func(*flbtest.Process), killed func()) {
	l := b.startLoad(gap, 50)
	p := b.startSpec(spec)
	d := b.delivery("duo")
	b.waitFor("first events", time.Minute, func() bool { return d.update() > 100 })
	hang(p)
	// Without a look at the host's count, cursors are saved after settle.
	b.waitFor("a standstill", 60*time.Second, func() bool { n := d.update(); pause(3 * time.Second); return d.update() == n })
	pause(3 * time.Second)
	hung := d.update()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	killed()
	if err := p.Kill(); err != nil {
		b.t.Fatal(err)
	}
	filed := l.end()
	if hung == 3*filed {
		b.t.Fatal("nothing was pending when it was killed: nothing is shown")
	}
	b.finish(in, fmt.Sprintf("killed while it hung, with %d of %d events through", hung, 3*filed), perSecond*10)
}

// A host that does not count, or counts other numbers since a processor drops
// events, is gone by its time alone.
func TestOddCounts(t *testing.T) {
	t.Parallel()
	for _, metrics := range []string{"off", "half"} {
		t.Run(metrics, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, flbtest.CHost, quickDuo)
			b.spec.CollectEvery = 100 * time.Millisecond
			b.spec.Metrics = metrics
			in := b.input("duo", append(quick, opt("settle", "500ms"))...)
			l, d := b.startLoad(gap, 60), b.delivery("duo")
			want := map[string]int{"off": 0, "half": 1}[metrics]
			for range 4 {
				p := b.start(in)
				odd := func() int { return strings.Count(p.Log(), "Fluent Bit counts other numbers") }
				have := len(d.all)
				b.waitFor("more events, and the line", time.Minute, func() bool { d.update(); return len(d.all) > have+200 && odd() >= want })
				seen := time.Now()
				b.awaitSaved(seen, duotest.Logs()...)
				d.end(p, seen, func() { b.kill(p) })
				if n := odd(); n != want {
					b.t.Errorf("that the count is odd is said %d times, want %d", n, want)
				}
			}
			l.end()
			d.finish(in, "4 kills", 4)
		})
	}
}

// In Fluent Bit, a processor that drops events: the rest arrives, and is not
// asked for again.
func TestDroppingProcessor(t *testing.T) {
	t.Parallel()
	b := newBed(t, flbtest.FluentBit, quickDuo)
	b.backlog(300, duotest.Logs()...)
	spec := b.spec
	spec.ConfigName = "fluent-bit.yaml"
	spec.Config = fmt.Sprintf(`
service: {flush: 0.5, grace: 1, storage.path: %q}
pipeline:
  inputs:
    - name: duo
      tag: duo
      storage.type: filesystem
      api_host: %s
      integration_key: %s
      secret_key: ${DUO_SECRET_KEY}
      ca_file: %s
      checkpoint_dir: %s
      poll_interval: 1s
      processors:
        logs:
          - name: grep
            exclude: eventtype activity
  outputs:
    - {name: file, match: duo, path: %q, file: duo, retry_limit: no_limits}
`, filepath.Join(b.dir, "storage"), b.duo.Addr, duotest.IntegrationKey, b.ca, filepath.Join(b.dir, "checkpoints"), filepath.Join(b.dir, "out"))
	for range 2 {
		p := b.startSpec(spec)
		d := b.delivery("duo")
		d.awaitAll(time.Minute, duotest.Authentication, duotest.Telephony)
		b.waitFor("line", time.Minute, func() bool { return strings.Contains(p.Log(), "caught up with Duo") })
		pause(settled) // or the last of them would come again
		b.stop(p)
		if d.update(); len(d.all) != 600 {
			b.t.Errorf("%d records arrived, want 600, and none again after a restart", len(d.all))
		}
	}
}
