//go:build cgo

package scenario

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
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

// The lengths of the long scenarios. The defaults keep `make test` short.
var (
	killsFluentBit = flag.Int("kills.fluentbit", 8, "times that fluent-bit is killed at a random instant")
	killsCHost     = flag.Int("kills.chost", 20, "times that the C host is killed at a random instant")
	stopsFluentBit = flag.Int("stops.fluentbit", 5, "times that fluent-bit is stopped at a random instant")
	patient        = flag.Bool("patient", false, "also run what takes real minutes: the recovery from errors that are retried every 5")
	elsewhere      = flag.Bool("elsewhere", false, "also run the plugin built for Windows, in Wine, and for arm64, in QEMU")
	stopsCHost     = flag.Int("stops.chost", 20, "times that the C host is stopped at a random instant")
)

// artifacts are what all tests share: built once, removed at the end.
var artifacts struct {
	plugin string
	hosts  map[flbtest.Kind]string
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "duo_in-scenario-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	artifacts.hosts = map[flbtest.Kind]string{}
	if artifacts.plugin, err = flbtest.BuildPlugin(ctx, dir); err == nil {
		artifacts.hosts[flbtest.CHost], err = flbtest.BuildCHost(ctx, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if path, ok := flbtest.FluentBitPath(); ok {
		artifacts.hosts[flbtest.FluentBit] = path
	} else {
		fmt.Fprintln(os.Stderr, "NO FLUENT BIT: no fluent-bit on PATH and FLUENT_BIT is not set, so the scenarios run in the C host only")
	}
	return m.Run()
}

// bed is one scenario's surroundings: a simulated Duo and a folder that
// outlives the hosts that come and go.
type bed struct {
	t      *testing.T
	kind   flbtest.Kind
	host   string // its program
	dir    string
	stored string // the folder of the checkpoints
	server *duotest.Server
	duo    *duotest.Running
	ca     string
	spec   flbtest.Spec
	hosts  []*flbtest.Process
}

// inBoth runs a scenario in each host there is, at the same time: most of it is
// waiting. It returns before they end, and so is a test's last word.
func inBoth(t *testing.T, c duotest.Config, f func(*bed)) {
	for _, kind := range []flbtest.Kind{flbtest.CHost, flbtest.FluentBit} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			f(newBed(t, kind, c))
		})
	}
}

func newBed(t *testing.T, kind flbtest.Kind, c duotest.Config) *bed {
	return newBedIn(t, t.TempDir(), kind, c)
}

// newBedIn is newBed in a folder of the caller's.
func newBedIn(t *testing.T, dir string, kind flbtest.Kind, c duotest.Config) *bed {
	if artifacts.hosts[kind] == "" {
		t.Skipf("NO FLUENT BIT: %s was not run in %v", t.Name(), kind)
	}
	b := &bed{t: t, kind: kind, host: artifacts.hosts[kind], dir: dir, stored: filepath.Join(dir, "checkpoints"), server: duotest.New(c)}
	b.duo = b.server.StartTLS()
	t.Cleanup(func() { b.duo.Close() }) // which may be another by then
	var err error
	if b.ca, err = b.duo.CAFile(b.dir); err != nil {
		t.Fatal(err)
	}
	b.spec = flbtest.Spec{Plugin: artifacts.plugin, Dir: b.dir}
	t.Cleanup(b.secretIsNowhere)
	t.Cleanup(b.explain)
	return b
}

// explain shows what the last hosts said, if the test failed.
func (b *bed) explain() {
	const most, size = 5, 4000
	if !b.t.Failed() {
		return
	}
	for _, p := range b.hosts[max(0, len(b.hosts)-most):] {
		log := p.Log()
		b.t.Logf("host %d said:\n%s", p.Pid(), log[max(0, len(log)-size):])
	}
}

// input is an [INPUT] that reads the simulated Duo; what is given comes on top.
func (b *bed) input(tag string, options ...flbtest.Option) flbtest.Input {
	set := map[string]bool{}
	for _, o := range options {
		set[o.Key] = true
	}
	for _, o := range []flbtest.Option{
		{Key: "api_host", Value: b.duo.Addr}, {Key: "integration_key", Value: duotest.IntegrationKey},
		{Key: "secret_key", Value: "${DUO_SECRET_KEY}"}, {Key: "ca_file", Value: b.ca},
		{Key: "checkpoint_dir", Value: b.stored}, {Key: "poll_interval", Value: "1s"},
	} {
		if !set[o.Key] {
			options = append(options, o)
		}
	}
	return flbtest.Input{Tag: tag, Options: options}
}

// start starts the host; the test's end ends it if nothing else has.
func (b *bed) start(inputs ...flbtest.Input) *flbtest.Process {
	b.t.Helper()
	spec := b.spec
	spec.Inputs = inputs
	return b.startSpec(spec)
}

// startSpec is start for what a Spec can say beyond inputs.
func (b *bed) startSpec(spec flbtest.Spec) *flbtest.Process {
	b.t.Helper()
	return b.startHost(b.host, spec)
}

// startHost is startSpec for a host of one's own, or a script that becomes one.
func (b *bed) startHost(bin string, spec flbtest.Spec) *flbtest.Process {
	b.t.Helper()
	spec.Env = append([]string{"DUO_SECRET_KEY=" + duotest.SecretKey, "HTTPS_PROXY=", "https_proxy="}, spec.Env...)
	p, err := flbtest.Start(b.kind, bin, spec)
	if err != nil {
		b.t.Fatal(err)
	}
	b.hosts = append(b.hosts, p)
	b.t.Cleanup(func() { _ = p.Kill() })
	return p
}

// stop ends a host cleanly.
func (b *bed) stop(p *flbtest.Process) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := p.Stop(ctx); err != nil {
		b.t.Fatalf("%v\n%s", err, p.Log())
	}
}

// secretIsNowhere greps all that the hosts printed and all that the plugin
// stored.
func (b *bed) secretIsNowhere() {
	for _, p := range b.hosts {
		if strings.Contains(p.Log(), duotest.SecretKey) {
			b.t.Error("the secret key is in the log")
		}
	}
	_ = filepath.WalkDir(b.stored, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if data, _ := os.ReadFile(path); strings.Contains(string(data), duotest.SecretKey) || strings.Contains(string(data), duotest.IntegrationKey) {
			b.t.Errorf("%s holds a key", path)
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm() != 0o600 && !b.spec.Platform.Windows() {
			b.t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
}

// cursor is what a stored cursor says of where it stands.
type cursor struct {
	Next    string    `json:"next_offset"` // within a window
	Checked time.Time // up to here windows have been read to their end
}

// storedCursor returns the cursor of a log of a checkpoint_dir, nothing if there is none.
func storedCursor(folder, log string) cursor {
	files, _ := filepath.Glob(filepath.Join(folder, "*", "self", log+".json"))
	for _, path := range files {
		var stored struct{ Cursor cursor }
		if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &stored) == nil {
			return stored.Cursor
		}
	}
	return cursor{}
}

// awaitSaved waits until the checkpoints are behind what happened before a time,
// so that nothing of it comes again after whatever end.
func (b *bed) awaitSaved(before time.Time, logs ...string) {
	b.t.Helper()
	b.waitFor("checkpoint behind "+before.Format(clockTime), time.Minute, func() bool {
		return !slices.ContainsFunc(logs, func(log string) bool { return storedCursor(b.stored, log).Checked.Before(before) })
	})
}

// waitFor waits until a condition holds; it fails the test after a limit that
// only a fault reaches.
func (b *bed) waitFor(what string, limit time.Duration, cond func() bool) {
	b.t.Helper()
	for end := time.Now().Add(limit); !cond(); {
		if time.Now().After(end) {
			last := b.hosts[len(b.hosts)-1].Log()
			b.t.Fatalf("no %s within %v; the host's log:\n%s", what, limit, last[max(0, len(last)-4000):])
		}
		pause(50 * time.Millisecond)
	}
}

// pause lets real time pass: between two looks at another process, or until a
// random instant at which it is struck.
func pause(d time.Duration) { <-time.After(d) }

// delivery is what came out under one tag.
type delivery struct {
	b      *bed
	reader *flbtest.Reader
	all    []flbtest.Record
	count  map[string]int           // by event_id
	last   map[string]time.Time     // it was read, by event_id
	ended  ending                   // the last
	may    map[string]bool          // come again, by event_id, and has not yet: a run may be too short for it
	late   int                      // ends of runs that said that they got too little time
	said   map[*flbtest.Process]int // how often, by then
	wrong  int                      // records that came again and may not
	ids    map[string]int           // by Duo's id, whatever the log
}

func (b *bed) delivery(tag string) *delivery {
	return &delivery{b: b, reader: flbtest.NewReader(b.kind, b.dir, tag), count: map[string]int{}, last: map[string]time.Time{}, may: map[string]bool{},
		said: map[*flbtest.Process]int{}, ids: map[string]int{}}
}

// ending is the end of a run of the host. What was read from since on until then may
// come again, which is no earlier than it was handed over; and, where Fluent Bit had
// events in its storage, what it had not delivered yet.
type ending struct {
	since, until time.Time
	stored       bool
}

// repeats reports whether what was read last at a time may come again.
func (e ending) repeats(last time.Time) bool {
	return !last.Before(e.since) && (e.stored || !last.After(e.until))
}

// idKeys are where Duo's id is, by eventtype.
var idKeys = map[string]string{duotest.Authentication: "txid", duotest.Activity: "activity_id", duotest.Telephony: "telephony_id",
	duotest.TrustMonitor: "sekey"}

// update reads what is new and returns how many events there are, duplicates
// not counted.
func (d *delivery) update() int {
	d.b.t.Helper()
	records, err := d.reader.Next()
	if err != nil {
		d.b.t.Fatal(err)
	}
	now := time.Now()
	for _, r := range records {
		id := r.String("event_id")
		if d.count[id] > 0 && !d.may[id] && !d.ended.repeats(d.last[id]) {
			d.wrong++
		}
		delete(d.may, id)
		d.all, d.last[id] = append(d.all, r), now
		d.count[id]++
		d.ids[r.String(idKeys[r.String("eventtype")])]++
	}
	return len(d.count)
}

// missing returns how many of the logs' events have not arrived.
func (d *delivery) missing(logs ...string) (n int) {
	d.update()
	for _, log := range logs {
		for _, id := range d.b.server.IDs(log) {
			if d.ids[id] == 0 {
				n++
			}
		}
	}
	return n
}

// twice returns how many records arrived beyond the first of their event_id.
func (d *delivery) twice() (n int) {
	for _, c := range d.count {
		n += c - 1
	}
	return n
}

// watch lets real time pass, and reads what comes when it comes.
func (d *delivery) watch(t time.Duration) {
	d.b.t.Helper()
	for end := time.Now().Add(t); time.Now().Before(end); pause(min(50*time.Millisecond, time.Until(end))) {
		d.update()
	}
}

// end does what ends a run of the host. What was handed over since a time before it
// may come again; of a host that says that it got too little time, all of the run.
func (d *delivery) end(p *flbtest.Process, since time.Time, do func()) {
	d.b.t.Helper()
	d.update()
	before := d.ended.until
	d.ended = ending{since: since, until: time.Now().Add(time.Hour)} // a reload brings more meanwhile
	do()
	d.update()
	chunks, _ := filepath.Glob(filepath.Join(d.b.dir, "storage", "*", "*"))
	d.ended.until, d.ended.stored = time.Now(), len(chunks) > 0
	if said := lateLine.FindAllString(p.Log(), -1); len(said) > d.said[p] { // of a reloaded host the log goes on
		d.b.t.Logf("all of the run may come again after %q", said[d.said[p]:])
		d.ended.since, d.said[p] = before, len(said)
		d.late++
	}
	for id, last := range d.last {
		if d.ended.repeats(last) {
			d.may[id] = true
		}
	}
}

// finish lets a last run deliver the rest, and compares.
func (d *delivery) finish(in flbtest.Input, what string, ends int) {
	d.b.t.Helper()
	d.b.spec.CollectEvery = 0
	p := d.b.start(in)
	d.awaitAll(time.Minute, duotest.Logs()...)
	d.b.stop(p)
	d.update()
	d.compare(what, ends)
}

// compare holds that nothing came again that may not, and that hosts get enough time most times.
func (d *delivery) compare(what string, ends int) {
	d.b.t.Helper()
	d.b.t.Logf("%s: %d events, %d records, 0 missing, %d twice, %d of them wrongly; %d ends late", what, len(d.count), len(d.all), d.twice(), d.wrong, d.late)
	if d.wrong > 0 || d.late > 1+ends/4 {
		d.b.t.Errorf("%d records came again that may not; %d of %d ends were late", d.wrong, d.late, ends)
	}
}

// awaitAll waits until nothing of the logs is missing.
func (d *delivery) awaitAll(limit time.Duration, logs ...string) {
	d.b.t.Helper()
	missing := 0
	defer func() {
		if missing > 0 {
			d.b.t.Errorf("%d events are missing", missing)
		}
	}()
	d.b.waitFor("end of the missing events", limit, func() bool { missing = d.missing(logs...); return missing == 0 })
}

// load files live events in all three logs until it is stopped.
type load struct {
	stop  chan struct{}
	done  sync.WaitGroup
	filed int
}

// startLoad files one event per log and gap.
func (b *bed) startLoad(gap time.Duration, seed uint64) *load {
	l := &load{stop: make(chan struct{})}
	l.done.Go(func() {
		var gens []*duotest.Generator
		for i, log := range duotest.Logs() {
			gens = append(gens, duotest.NewGenerator(log, seed+uint64(i), duotest.Options{}))
		}
		tick := time.NewTicker(gap)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				for i, log := range duotest.Logs() {
					b.server.Add(log, gens[i].At(time.Now()))
				}
				l.filed++
			}
		}
	})
	return l
}

func (l *load) end() int {
	close(l.stop)
	l.done.Wait()
	return l.filed
}

// backlog files n records per log between 23 hours (within the default of since)
// and 3 minutes ago, and
// returns them by id.
func (b *bed) backlog(n int, logs ...string) map[string]json.RawMessage {
	now := time.Now()
	source := map[string]json.RawMessage{}
	for i, log := range logs {
		records := duotest.NewRecords(log, uint64(i+1), now.Add(-23*time.Hour), now.Add(-3*time.Minute), n)
		b.server.Add(log, records...)
		for _, raw := range records {
			var fields map[string]any
			if err := json.Unmarshal(raw, &fields); err != nil {
				b.t.Fatal(err)
			}
			source[fields[idKeys[log]].(string)] = raw
		}
	}
	return source
}

// seed is printed so that a failure can be looked into.
func newRand(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
