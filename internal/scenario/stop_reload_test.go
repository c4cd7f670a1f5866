//go:build cgo

package scenario

import (
	"flag"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

var (
	reloadsCHost     = flag.Int("reloads.chost", 10, "times that the C host is reloaded under load")
	reloadsFluentBit = flag.Int("reloads.fluentbit", 3, "times that fluent-bit is reloaded under load")
)

// Hot reloads at random moments under load, Exit and a new Init in the same
// library: nothing is missing, twice comes at most what was handed over in the
// last half second of each run, and the process holds no more in the end than
// after the first.
func TestReload(t *testing.T) {
	t.Parallel()
	inBoth(t, quickDuo, func(b *bed) {
		reloads := *reloadsFluentBit
		b.spec.HotReload, b.spec.Grace = true, time.Second
		if b.kind == flbtest.CHost {
			reloads, b.spec.Grace, b.spec.CollectEvery = *reloadsCHost, 200*time.Millisecond, 100*time.Millisecond
		}
		rnd := newRand(b.t)
		l := b.startLoad(gap, 40)
		p := b.start(b.input("duo", quick...))
		b.ready(p)
		d := b.delivery("duo")
		var first flbtest.Usage
		for i := range reloads {
			seen := d.update()
			b.waitFor("live records", time.Minute, func() bool { return d.update() > seen })
			d.watch(time.Duration(rnd.Int64N(int64(time.Second))))
			d.end(p, time.Now().Add(-exitLimit), func() { b.reload(p, i+1) })
			if i == 0 {
				first = b.settled(p, d)
			}
		}
		// One to three connections are open, and what the runtime and the
		// allocator keep for the next time varies: what leaks stays.
		const files, threads, memory = 2, 8, 8 << 20
		more := func(u flbtest.Usage) bool {
			return u.Files > first.Files+files || u.Threads > first.Threads+threads || u.Resident > first.Resident+memory
		}
		last := b.settled(p, d)
		for i := 0; i < 10 && more(last); i++ {
			last = b.settled(p, d)
		}
		l.end()
		d.awaitAll(time.Minute, duotest.Logs()...)
		b.stop(p)
		d.update()
		b.t.Logf("after the first reload %s, after the last %s", usage(first), usage(last))
		d.compare(fmt.Sprintf("%d reloads", reloads), reloads)
		if more(last) {
			b.t.Errorf("%d reloads later the process holds more", reloads-1)
		}
	})
}

// reload has a host do its n-th hot reload, and waits until that is done: before
// it Fluent Bit takes no other (src/fluent-bit.c:flb_signal_handler).
func (b *bed) reload(p *flbtest.Process, n int) {
	b.t.Helper()
	if b.kind == flbtest.CHost {
		b.command(p, "reload")
	} else if err := p.Signal(syscall.SIGHUP); err != nil {
		b.t.Fatal(err)
	}
	b.waitFor("reload", time.Minute, func() bool {
		log := p.Log()
		return strings.Count(log, "] duo_in ") == n+1 && (b.kind == flbtest.CHost || strings.Count(log, reloadDone) == n)
	})
}

// reloadDone is Fluent Bit's word for that (src/flb_reload.c:flb_reload).
const reloadDone = "successful reload done"

// settled is the least that a host holds within a second of work: connections
// and chunks come and go. It waits for a record first: the plugin says that it
// has started before Fluent Bit opens its outputs.
func (b *bed) settled(p *flbtest.Process, d *delivery) (least flbtest.Usage) {
	b.t.Helper()
	seen := d.update()
	b.waitFor("live records", time.Minute, func() bool { return d.update() > seen })
	for i := range 20 {
		u, err := p.Usage()
		if err != nil {
			b.t.Fatal(err)
		}
		if i == 0 {
			least = u
		}
		least.Files, least.Threads, least.Resident = min(least.Files, u.Files), min(least.Threads, u.Threads), min(least.Resident, u.Resident)
		pause(50 * time.Millisecond)
	}
	return least
}

func usage(u flbtest.Usage) string {
	return fmt.Sprintf("%d files, %d threads, %.1f MiB", u.Files, u.Threads, float64(u.Resident)/(1<<20))
}
