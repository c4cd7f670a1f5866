//go:build cgo

package scenario

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// example is a configuration of examples/ as a user has it, but for the places
// that it names: the folder of its state, the SIEM, and the simulated Duo with
// what makes it quick.
func (b *bed) example(name string, siem *flbtest.Receiver) flbtest.Spec {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples", name))
	if err != nil {
		b.t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(siem.Addr)
	if err != nil {
		b.t.Fatal(err)
	}
	spec := b.spec
	spec.ConfigName = name
	spec.Config = strings.NewReplacer(
		"/var/lib/duo_in", b.state(),
		"siem.example.com", host, "6514", port,
		"    storage.type      filesystem\n    api_host", "    poll_interval     1s\n    delay             1s\n    overlap           30s\n    ca_file           "+b.ca+"\n    storage.type      filesystem\n    api_host",
	).Replace(string(text))
	spec.Env = append(spec.Env, "DUO_API_HOST="+b.duo.Addr, "DUO_INTEGRATION_KEY="+duotest.IntegrationKey)
	return spec
}

func (b *bed) state() string { return filepath.Join(b.dir, "state") }

// lines are the lines of a file of the state folder, none if it is not there.
func (b *bed) lines(file string) []string {
	text, err := os.ReadFile(filepath.Join(b.state(), file))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// byLog counts the events of lines of JSON: how many there are by log, and how
// many lines beyond.
func byLog(t *testing.T, lines []string) (events map[string]int, twice int) {
	t.Helper()
	seen := map[string]bool{}
	events = map[string]int{}
	for _, line := range lines {
		var r struct{ Eventtype, Event_id string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		if seen[r.Event_id] {
			twice++
			continue
		}
		seen[r.Event_id] = true
		events[r.Eventtype]++
	}
	return events, twice
}

func receiver(t *testing.T, network string) *flbtest.Receiver {
	t.Helper()
	r, err := flbtest.NewReceiver(network)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// An [INPUT] for each log: each goes where its tag leads, and nowhere else.
func TestExampleOneTagPerLog(t *testing.T) {
	b := newBed(t, flbtest.FluentBit, quickDuo)
	b.backlog(200, duotest.Logs()...)
	siem := receiver(t, "tcp")
	p := b.startSpec(b.example("one-tag-per-log.conf", siem))
	b.waitFor("events", time.Minute, func() bool {
		return len(siem.Lines()) >= 400 && len(b.lines("activity.log")) >= 200 && len(b.lines("telephony.log")) >= 200
	})
	b.stop(p)
	b.routed("the SIEM", siem.Lines(), map[string]int{"authentication": 200, "activity": 200}, 0)
	b.routed("activity.log", b.lines("activity.log"), map[string]int{"activity": 200}, 0)
	b.routed("telephony.log", b.lines("telephony.log"), map[string]int{"telephony": 200}, 0)
}

// routed compares what came to a place.
func (b *bed) routed(place string, lines []string, want map[string]int, mayTwice int) {
	b.t.Helper()
	got, twice := byLog(b.t, lines)
	for _, log := range duotest.AllLogs() {
		if got[log] != want[log] {
			b.t.Errorf("%s got %d events of %s, want %d", place, got[log], log, want[log])
		}
	}
	if twice > mayTwice {
		b.t.Errorf("%s got %d lines twice, at most %d may be", place, twice, mayTwice)
	}
}

// One [INPUT] and rewrite_tag, killed or stopped and started again under load:
// the emitter loses nothing, and each record comes to one place.
func TestExampleRewriteTag(t *testing.T) {
	b := newBed(t, flbtest.FluentBit, quickDuo)
	siem := receiver(t, "tcp")
	spec := b.example("rewrite-tag.conf", siem)
	rnd := newRand(t)
	l := b.startLoad(gap, 30)
	const kills, stops = 4, 4
	for n := range kills + stops {
		p := b.startSpec(spec)
		pause(time.Second + time.Duration(rnd.Int64N(int64(4*time.Second))))
		if n >= kills {
			b.stop(p)
		} else if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	filed := l.end()
	p := b.startSpec(spec)
	whole := func(lines []string) (n int) {
		got, _ := byLog(t, lines)
		for _, c := range got {
			n += c
		}
		return n
	}
	b.waitFor("events", time.Minute, func() bool { return whole(siem.Lines()) >= filed && whole(b.whole("duo.log")) >= 2*filed })
	b.stop(p)
	mayTwice := kills*(perSecond*4+300) + stops*perCallback
	b.routed("the SIEM", siem.Lines(), map[string]int{"authentication": filed}, mayTwice)
	b.routed("duo.log", b.whole("duo.log"), map[string]int{"activity": filed, "telephony": filed}, mayTwice)
}

// whole are the records of a file that are whole: a kill may tear one, which
// then comes again, and the next one begins behind what is left of it.
func (b *bed) whole(file string) (whole []string) {
	for _, line := range b.lines(file) {
		for begin := 0; begin >= 0; {
			if line = line[begin:]; json.Valid([]byte(line)) {
				whole = append(whole, line)
				break
			}
			if begin = strings.Index(line[min(1, len(line)):], `{"`) + 1; begin == 0 {
				break
			}
		}
	}
	return whole
}
