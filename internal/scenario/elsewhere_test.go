//go:build cgo

package scenario

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// What is built for other platforms delivers there, as far as Wine and QEMU are
// those platforms: a backlog, and then live events through a clean stop and
// a kill, after each of which it goes on where it was.
func TestElsewhere(t *testing.T) {
	for _, platform := range flbtest.Elsewhere {
		t.Run(platform.String(), func(t *testing.T) {
			if !*elsewhere {
				t.Skipf("NOT RUN: what is built for %v; -elsewhere runs it", platform)
			}
			if missing := platform.Missing(); missing != "" {
				t.Skipf("%s, so what is built for %v was not run", missing, platform)
			}
			b := newBed(t, flbtest.CHost, quickDuo)
			b.moveTo(platform)
			const backlog = 3000
			since := time.Now().Add(-time.Minute) // all of the backlog is older
			b.backlog(backlog, duotest.Logs()...)
			in := b.input("duo", quick...)

			p := b.start(in)
			d := b.delivery("duo")
			d.awaitAll(3*time.Minute, duotest.Logs()...)
			if d.twice() != 0 || len(d.all) != backlog*len(duotest.Logs()) {
				t.Errorf("%d records arrived, %d of them twice; Duo has %d of each of %d logs", len(d.all), d.twice(), backlog, len(duotest.Logs()))
			}

			l := b.startLoad(gap, 30)
			// A stop within half a second of the backlog's last batch would bring that again.
			b.awaitSaved(since, duotest.Logs()...)
			b.stop(p)
			for _, end := range []func(*flbtest.Process){b.stop, b.kill} {
				p := b.start(in)
				want := d.update() + 5*perSecond
				b.waitFor("live events", time.Minute, func() bool { return d.update() >= want })
				end(p)
			}
			l.end()
			b.finish(in, "two stops and a kill", 2*perCallback+perSecond*4+3*100)
			for _, p := range b.hosts {
				if platform.Windows() && strings.Contains(p.Log(), "(mode ") {
					t.Errorf("modes are looked at where there are none:\n%s", p.Log())
				}
			}
		})
	}
}

// moveTo has the bed's hosts be of another platform.
func (b *bed) moveTo(platform flbtest.Platform) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute) // a standard library may have to be compiled
	defer cancel()
	var err error
	if b.spec.Plugin, b.host, err = platform.Build(ctx, b.t.TempDir()); err != nil {
		b.t.Fatal(err)
	}
	b.spec.Platform = platform
	if !platform.Windows() {
		return
	}
	// Fluent Bit for Windows exports none of the functions that its count is read with.
	b.spec.Metrics = "off"
	folder, err := os.MkdirTemp("", "duo_in-wine-")
	if err != nil {
		b.t.Fatal(err)
	}
	env, stop, err := flbtest.Wine(ctx, folder)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := stop(); err != nil {
			b.t.Error(err)
		}
		os.RemoveAll(folder)
	})
	b.spec.Env = env
}

func (b *bed) kill(p *flbtest.Process) {
	b.t.Helper()
	if err := p.Kill(); err != nil {
		b.t.Fatal(err)
	}
}
