//go:build cgo

package scenario

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

var outage = flag.Duration("outage", 0, "how long an output is down, in all tests of that; without it a few seconds, in some")

// underPressure is how long an output is down. Without the flag only what is
// always to be tested runs.
func underPressure(t *testing.T, always bool) time.Duration {
	t.Helper()
	if *outage == 0 && !always {
		t.Skip("one of the tests that take minutes together; run with -outage 1m")
	}
	t.Parallel()
	return cmp.Or(*outage, 3*time.Second)
}

// pipeline is Fluent Bit's configuration with an output for each tag, to a
// collector that may be down.
func (b *bed) pipeline(service []flbtest.Option, to map[string]*flbtest.Receiver, inputs ...flbtest.Input) flbtest.Spec {
	b.t.Helper()
	var c strings.Builder
	section := func(name string, options ...flbtest.Option) {
		c.WriteString("[" + name + "]\n")
		for _, o := range options {
			c.WriteString("    " + o.Key + " " + o.Value + "\n")
		}
	}
	section("SERVICE", append([]flbtest.Option{opt("flush", "0.5"), opt("grace", "1"), opt("log_level", "info"),
		opt("scheduler.base", "1"), opt("scheduler.cap", "1"), opt("storage.checksum", "off"),
		opt("storage.path", filepath.Join(b.dir, "storage"))}, service...)...)
	for _, in := range inputs {
		section("INPUT", append([]flbtest.Option{opt("name", "duo"), opt("tag", in.Tag)}, in.Options...)...)
	}
	for tag, siem := range to {
		host, port, err := net.SplitHostPort(siem.Addr)
		if err != nil {
			b.t.Fatal(err)
		}
		section("OUTPUT", opt("name", "tcp"), opt("alias", tag), opt("match", tag), opt("host", host), opt("port", port),
			opt("format", "json_lines"), opt("json_date_key", "false"), opt("retry_limit", "no_limits"))
	}
	spec := b.spec
	spec.Config, spec.ConfigName = c.String(), "pressure.conf"
	return spec
}

// down is a collector that refuses connections.
func down(t *testing.T) *flbtest.Receiver {
	t.Helper()
	r, err := flbtest.NewAbsentReceiver()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// up is one that takes the place of the one that is down.
func up(t *testing.T, down *flbtest.Receiver) *flbtest.Receiver {
	t.Helper()
	r, err := down.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// still waits until a figure has not changed for some seconds.
func (b *bed) still(what string, figure func() int) int {
	b.t.Helper()
	last, since := figure(), time.Now()
	b.waitFor("end of the growth of "+what, 2*time.Minute, func() bool {
		if n := figure(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 4*time.Second
	})
	return last
}

// resident is the memory of the host in MB, which the race detector does not
// see: the plugin is built without it.
func (b *bed) resident(p *flbtest.Process) int64 {
	b.t.Helper()
	u, err := p.Usage()
	if err != nil {
		b.t.Fatal(err)
	}
	return u.Resident >> 20
}

// pressed is how many events the tests below have: 17 MB, more than what
// Fluent Bit may hold in memory and the plugin in its queue.
const pressed = 10000

// hold lets an output be stuck or down for a while, and holds that memory stays
// flat and, where Fluent Bit has paused the input, that Duo is not called.
func (b *bed) hold(p *flbtest.Process, paused bool, outage time.Duration) {
	b.t.Helper()
	calls := func() int { return b.server.Count(duotest.Authentication).Calls }
	b.waitFor("calls", time.Minute, func() bool { return calls() > 2 }) // what Fluent Bit and the queue hold takes three
	if paused {
		b.still("calls", calls)
	} else {
		b.waitFor("end of the backlog", time.Minute, func() bool { return strings.Contains(p.Log(), "caught up with Duo") })
	}
	before, memory := calls(), b.resident(p)
	pause(outage)
	after := b.resident(p)
	b.t.Logf("%d calls, then %d in %v; %d MB resident, then %d", before, calls()-before, outage, memory, after)
	if paused && (calls() != before || before > pressed/1000) {
		b.t.Errorf("%d calls until the pause, of the %d that the backlog takes, and %d during it", before, pressed/1000+1, calls()-before)
	}
	if most := int64(150); after > memory+8 || after > most {
		b.t.Errorf("%d MB resident after %v, %d before; at most %d may be", after, outage, memory, most)
	}
}

// An output is down while there is more than Fluent Bit may hold: what it can
// hold it holds, the rest stays at Duo, memory stays flat, and when the output is
// up everything arrives, once.
func TestOutputDown(t *testing.T) {
	for _, tt := range []struct {
		name   string
		input  []flbtest.Option
		paused bool
	}{
		{"filesystem storage", []flbtest.Option{opt("storage.type", "filesystem")}, false},
		{"memory storage", []flbtest.Option{opt("storage.type", "memory"), opt("mem_buf_limit", "2M")}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outage := underPressure(t, tt.paused)
			b := newBed(t, flbtest.FluentBit, duotest.Config{})
			b.backlog(pressed, duotest.Authentication)
			siem := down(t)
			in := b.input("duo", append(tt.input, opt("logs", "authentication"))...)
			p := b.startSpec(b.pipeline([]flbtest.Option{opt("storage.max_chunks_up", "4")}, map[string]*flbtest.Receiver{"duo": siem}, in))
			b.hold(p, tt.paused, outage)
			siem = up(t, siem)
			b.waitFor("all events", 2*time.Minute, func() bool { got, _ := byLog(t, siem.Lines()); return got[duotest.Authentication] == pressed })
			b.stop(p)
			b.routed("the collector", siem.Lines(), map[string]int{duotest.Authentication: pressed}, 0)
		})
	}
}

// A collector that takes what it is sent and does not answer, with the option
// that has filesystem storage pause: what is in flight counts as up.
func TestOutputHangs(t *testing.T) {
	outage := underPressure(t, false)
	b := newBed(t, flbtest.FluentBit, duotest.Config{})
	b.backlog(pressed, duotest.Authentication)
	var mu sync.Mutex
	var lines []string
	answers := make(chan struct{})
	siem := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		<-answers
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			lines = append(lines, strings.Split(strings.TrimSpace(string(body)), "\n")...)
		}
	}))
	t.Cleanup(siem.Close)
	host, port, err := net.SplitHostPort(siem.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in := b.input("duo", opt("logs", "authentication"), opt("storage.type", "filesystem"), opt("storage.pause_on_chunks_overlimit", "on"))
	spec := b.pipeline([]flbtest.Option{opt("storage.max_chunks_up", "2")}, nil, in)
	spec.Config += strings.Join([]string{"[OUTPUT]", "name http", "match duo", "host " + host, "port " + port, "format json_lines",
		"json_date_key false", "retry_limit no_limits", ""}, "\n    ")
	p := b.startSpec(spec)
	b.hold(p, true, outage)
	close(answers)
	b.waitFor("all events", 2*time.Minute, func() bool {
		mu.Lock()
		defer mu.Unlock()
		got, _ := byLog(t, lines)
		return got[duotest.Authentication] == pressed
	})
	b.stop(p)
	b.routed("the collector", lines, map[string]int{duotest.Authentication: pressed}, 0)
}

// Two inputs, of which one has an output that is down. Fluent Bit's pause stops
// the collector of the last input, whichever is paused: where that is the other
// one, it waits as long, and loses nothing. Filesystem storage never pauses.
func TestOutputOfOneDown(t *testing.T) {
	stuck := []flbtest.Option{opt("storage.type", "memory"), opt("mem_buf_limit", "200K"), opt("batch_size", "64K")}
	for _, tt := range []struct {
		name   string
		stuck  []flbtest.Option
		last   bool // the stuck one comes last
		waits  bool // and the other one with it
		paused string
	}{
		{"the first, memory storage", stuck, false, true, "duo.0 paused"},
		{"the last, memory storage", stuck, true, false, "duo.1 paused"},
		{"the first, filesystem storage", []flbtest.Option{opt("storage.type", "filesystem")}, false, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outage := underPressure(t, tt.waits)
			b := newBed(t, flbtest.FluentBit, quickDuo)
			auth, tele := down(t), receiver(t, "tcp")
			inputs := []flbtest.Input{
				b.input("auth", slices.Concat(quick, tt.stuck, []flbtest.Option{opt("logs", "authentication")})...),
				b.input("tele", slices.Concat(quick, []flbtest.Option{opt("logs", "telephony"), opt("storage.type", "filesystem")})...),
			}
			if tt.last {
				slices.Reverse(inputs)
			}
			l := b.startLoad(gap, 50)
			p := b.startSpec(b.pipeline(nil, map[string]*flbtest.Receiver{"auth": auth, "tele": tele}, inputs...))
			arrived := func() int { got, _ := byLog(t, tele.Lines()); return got[duotest.Telephony] }
			b.waitFor("events of the other", time.Minute, func() bool { return arrived() > 20 })
			b.waitFor("pause", time.Minute, func() bool { return strings.Contains(p.Log(), tt.paused) && (tt.waits || arrived() > 100) })
			before := arrived()
			if tt.waits {
				before = b.still("events of the other", arrived) // what is under way arrives
			}
			pause(outage)
			t.Logf("%d events of the other while one was down for %v", arrived()-before, outage)
			if (arrived() == before) != tt.waits {
				t.Errorf("%d events of the other arrived in %v; waiting: %v, want %v", arrived()-before, outage, arrived() == before, tt.waits)
			}
			filed := l.end()
			auth = up(t, auth)
			b.waitFor("all events", 2*time.Minute, func() bool {
				got, _ := byLog(t, auth.Lines())
				return got[duotest.Authentication] >= filed && arrived() >= filed
			})
			b.stop(p)
			b.routed("one collector", auth.Lines(), map[string]int{duotest.Authentication: filed}, 0)
			b.routed("the other", tele.Lines(), map[string]int{duotest.Telephony: filed}, 0)
		})
	}
}

// With memory storage and an output that is down, an end loses what Fluent Bit
// had taken, which no plugin can help, and not more: what it had not taken comes
// after the start.
func TestEndWithMemoryStorage(t *testing.T) {
	underPressure(t, false)
	b := newBed(t, flbtest.FluentBit, duotest.Config{})
	b.backlog(pressed, duotest.Authentication)
	siem := down(t)
	const limit = 3 << 20
	in := b.input("duo", opt("logs", "authentication"), opt("storage.type", "memory"), opt("mem_buf_limit", "3M"), opt("batch_size", "1M"))
	p := b.startSpec(b.pipeline(nil, map[string]*flbtest.Receiver{"duo": siem}, in))
	b.waitFor("pause", time.Minute, func() bool { return strings.Contains(p.Log(), "duo.0 paused") })
	b.stop(p)
	siem = up(t, siem)
	b.startSpec(b.pipeline(nil, map[string]*flbtest.Receiver{"duo": siem}, in))
	arrived := b.still("arrivals", func() int { got, _ := byLog(t, siem.Lines()); return got[duotest.Authentication] })
	size := 0
	for _, line := range siem.Lines() {
		size += len(line)
	}
	lost := (pressed - arrived) * (size / arrived)
	t.Logf("mem_buf_limit 3M: %d events lost, %d KB", pressed-arrived, lost>>10)
	if lost == 0 || lost > limit+1<<20 {
		t.Errorf("%d bytes lost: want some, and no more than mem_buf_limit and a batch", lost)
	}
}

// Records that are many times larger than batch_size, and the host's log in a
// file.
func TestHugeRecords(t *testing.T) {
	underPressure(t, false)
	inBoth(t, duotest.Config{}, func(b *bed) {
		const huge = 10 << 20
		source := b.backlog(30, duotest.Activity)
		for i := range 3 {
			raw := fmt.Appendf(nil, `{"activity_id": "huge-%d", "ts": %q, "details": %q}`, i,
				time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.000000+00:00"), strings.Repeat("x", huge))
			b.server.Add(duotest.Activity, raw)
			source[fmt.Sprint("huge-", i)] = raw
		}
		log := filepath.Join(b.dir, "host.log")
		b.spec.Service = []flbtest.Option{opt("log_file", log)}
		p := b.start(b.input("duo", opt("logs", "activity"), opt("batch_size", "64K")))
		d := b.delivery("duo")
		d.awaitAll(2*time.Minute, duotest.Activity)
		most := b.resident(p)
		b.stop(p)
		b.t.Logf("%d MB resident with records of 10 MB", most)
		if d.update(); len(d.all) != len(source) || most > 250 {
			b.t.Errorf("%d records of %d arrived, %d twice; %d MB resident", len(d.all), len(source), d.twice(), most)
		}
		for _, r := range d.all {
			if err := sameAsDuo(r, source[r.String("activity_id")], b.duo.Addr); err != nil {
				b.t.Fatalf("record %d: %.300v", r.Line, err)
			}
		}
		if text, err := os.ReadFile(log); b.kind == flbtest.FluentBit && (err != nil || !strings.Contains(string(text), "[input:duo:duo.0] activity: caught up")) {
			b.t.Errorf("the log file (%v) has:\n%s", err, text)
		}
	})
}
