//go:build cgo

package scenario

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

var (
	tortureLength = flag.Duration("torture.length", 15*time.Second, "how long each host is tortured")
	tortureSeed   = flag.Uint64("torture.seed", 1, "the seed of the torture's plan; 0: another one each time")
	tortureHost   = flag.String("torture.host", "", "which host is tortured: flbhost, fluent-bit, or both, as if empty")
)

// tortured are the logs, with every way of paging among them.
var tortured = []string{duotest.Authentication, duotest.Telephony, duotest.Activity, duotest.TrustMonitor, duotest.Administrator}

// bounds are what the host must stay within; hugePages is added to Peak once Duo
// has sent a page of 16 MiB or more.
var bounds = map[flbtest.Kind]flbtest.Usage{
	flbtest.CHost:     {Peak: 64 << 20, Files: 64, Threads: 48},
	flbtest.FluentBit: {Peak: 120 << 20, Files: 256, Threads: 64},
}

const hugePages = 96 << 20

const (
	stopLimit = 10 * time.Second // of the host, which waits for its outputs
	// late is by how much a moment may be seen later than it was, and a save be
	// made later than it was due: a callback a second, the ring, Fluent Bit's
	// flush, and a machine that is busy.
	late      = 2 * time.Second
	retrySave = 3 * time.Second // after a save that failed, less than that
)

// Events happen all the time; Duo, the disk, the clocks and the host fail in
// every way there is, in an order that a seed decides; checkpoints are torn and
// replaced between two lives of the host. Nothing is missing, nothing comes twice
// that the checkpoints cover, no cursor is saved late, the host stays small and
// ends in time.
func TestTorture(t *testing.T) {
	t.Parallel()
	seed := *tortureSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	all := []flbtest.Kind{flbtest.CHost, flbtest.FluentBit}
	chosen := func(k flbtest.Kind) bool {
		return *tortureHost == "" || *tortureHost == "both" || *tortureHost == k.String()
	}
	if !slices.ContainsFunc(all, chosen) {
		t.Fatalf("-torture.host %s is none of flbhost, fluent-bit, both", *tortureHost)
	}
	for _, kind := range all {
		if chosen(kind) {
			t.Run(kind.String(), func(t *testing.T) {
				t.Parallel()
				newTorture(t, kind, seed, *tortureLength).run()
			})
		}
	}
}

// torture is one host's.
type torture struct {
	*bed
	seed    uint64
	length  time.Duration
	journal *os.File
	disk    string // holds the checkpoint folder
	mounted bool   // and is a small volume
	settle  time.Duration
	inputs  []flbtest.Input
	clock   *clock
	book    *book
	readers []*flbtest.Reader

	host       *flbtest.Process // none between two lives
	starts     int              // of its pipeline, reloads among them
	effects    []effect
	troubled   time.Time // until then saves may fail, or are put off
	expect     []*regexp.Regexp
	out        func()              // ends what keeps a stream out
	backlog    []string            // of Fluent Bit's storage, what this life began with
	had        map[string][]byte   // the checkpoints that this life began with
	hugeBefore int                 // calls that had met a huge page then
	copies     []map[string][]byte // of the checkpoints, in the last rounds

	mu    sync.Mutex // guards met, which Duo's goroutines count
	met   map[duotest.FaultKind]int
	tally // what is printed at the end
}

type tally struct {
	lives, kills, stops, reloads, pauses, outages, leaps, disks, damaged, calms, saves int
	usage                                                                              flbtest.Usage // the most of each, but for lives that met a huge page
	hugePeak                                                                           int64         // of those
	slowestExit, slowestStop                                                           time.Duration
}

// effect is something that lasts.
type effect struct {
	of    string // at most one of each
	until time.Time
	end   func()
}

func newTorture(t *testing.T, kind flbtest.Kind, seed uint64, length time.Duration) *torture {
	dir, err := os.MkdirTemp("", "duo_in-torture-"+kind.String()+"-")
	if err != nil {
		t.Fatal(err)
	}
	o := &torture{seed: seed, length: length, clock: &clock{}, book: newBook(), met: map[duotest.FaultKind]int{}, disk: filepath.Join(dir, "disk")}
	t.Cleanup(func() { o.leave(t, dir) })
	o.bed = newBedIn(t, dir, kind, duotest.Config{Delay: time.Second, Now: o.clock.now, OnCall: o.count})
	o.stored = filepath.Join(o.disk, "checkpoints")
	o.journal, err = os.Create(filepath.Join(dir, "journal"))
	o.must(err)
	o.spec.Stdout, o.spec.Stderr = o.journal, o.journal
	o.spec.HotReload, o.spec.Grace = true, time.Second
	options := []flbtest.Option{opt("delay", "1s"), opt("overlap", "20s"), opt("since", "1h"), opt("page_size", "50"), opt("timeout", "2s")}
	if o.settle = 2 * time.Second; kind == flbtest.CHost {
		o.settle = time.Second
		o.spec.CollectEvery, o.spec.Grace = 100*time.Millisecond, 500*time.Millisecond
		options = append(options, opt("settle", "1s"))
	}
	for i, logs := range torturedInputs {
		tag := []string{"one", "two"}[i]
		o.inputs = append(o.inputs, o.input(tag, append(slices.Clone(options), opt("logs", strings.Join(logs, ",")))...))
		o.readers = append(o.readers, flbtest.NewReader(kind, dir, tag))
	}
	o.mount()
	return o
}

// mount gives the checkpoints a volume that can be filled.
func (t *torture) mount() {
	t.must(os.Mkdir(t.disk, 0o700))
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "duo_in-torture", t.disk).CombinedOutput()
	if t.mounted = err == nil; !t.mounted {
		t.t.Logf("NO FULL DISK: a volume of its own for the checkpoints cannot be mounted (%v: %s); run as root to try one", err, strings.TrimSpace(string(out)))
	}
}

// leave cleans up; after a failure the folder stays. It was skipped if there is no
// bed.
func (t *torture) leave(test *testing.T, dir string) {
	if test.Failed() {
		test.Logf("what happened stands in %s/journal; again: make torture HOST=%v SEED=%d LENGTH=%v", dir, t.kind, t.seed, t.length)
		_ = os.CopyFS(filepath.Join(dir, "kept"), os.DirFS(t.disk)) // as it goes with its volume
	} else {
		defer os.RemoveAll(dir)
	}
	if t.mounted {
		if err := exec.Command("umount", "-l", t.disk).Run(); err != nil {
			test.Errorf("umount %s: %v", t.disk, err)
		}
	}
}

func (t *torture) run() {
	steps := plan(t.seed, t.length, t.kind)
	t.t.Logf("seed %d: %d steps in %v", t.seed, len(steps), t.length)
	fmt.Fprintf(t.journal, "%s\n", planText(steps))
	do := map[string]func(*rand.Rand){
		"start": func(*rand.Rand) { t.start() }, "torn": t.torn, "calm": func(rnd *rand.Rand) { t.calm(time.Now(), rnd.IntN(2) == 0) },
	}
	for _, a := range slices.Concat(acts, ends) {
		do[a.name] = func(rnd *rand.Rand) { a.do(t, rnd) }
	}
	for _, d := range damages {
		do[d.name] = func(rnd *rand.Rand) { t.damage(d, rnd) }
	}
	stop := t.feed()
	defer stop()
	end := time.Now().Add(t.length)
	for i, s := range steps {
		// A slow machine does less of the plan, but to the end of a life.
		if time.Now().After(end) && t.host == nil {
			t.t.Logf("%d of %d steps done", i, len(steps))
			break
		}
		t.wait(s.After)
		t.note("step %d: %s", i, s.Do)
		do[s.Do](s.rand())
		if t.t.Failed() {
			t.t.FailNow()
		}
	}
	t.calm(time.Now(), true)
	stop()
	t.calm(time.Now().Add(time.Hour), false)
	t.secretIsNowhere()
	t.report()
}

// feed has events happen in all logs, one in a hundred milliseconds each, of
// which some are odd and some are filed late, until it is stopped.
func (t *torture) feed() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		rnd := rand.New(rand.NewPCG(t.seed, 1))
		var gens []*duotest.Generator
		for i, log := range tortured {
			gens = append(gens, duotest.NewGenerator(log, t.seed+uint64(i), duotest.Options{Quirks: 0.05}))
		}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for i, log := range tortured {
				now := time.Now()
				raw, shown := gens[i].At(now), now
				if rnd.IntN(20) == 0 {
					shown = now.Add(between(rnd, 0, 5*time.Second))
				}
				if err := t.book.file(log, raw, now, shown); err != nil {
					t.t.Errorf("file %s: %v", raw, err)
				}
				t.server.AddAt(log, shown, raw)
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

func (t *torture) count(c duotest.Call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.Fault != "" {
		t.met[c.Fault]++
	}
}

// note writes to the journal, which holds what the hosts print too.
func (t *torture) note(format string, args ...any) {
	fmt.Fprintf(t.journal, "--- %s %s\n", time.Now().Format(clockTime), fmt.Sprintf(format, args...))
}

func (t *torture) errorf(format string, args ...any) {
	t.t.Helper()
	t.note(format, args...)
	t.t.Errorf(format, args...)
}

func (t *torture) must(err error) {
	t.t.Helper()
	if err != nil {
		t.note("%v", err)
		t.t.Fatal(err)
	}
}

// effect has something last for a while; unsaved is for what keeps cursors from
// being saved.
func (t *torture) effect(of string, lasts time.Duration, end func()) {
	t.note("%s: for %v", of, lasts)
	t.effects = append(t.effects, effect{of, time.Now().Add(lasts), end})
}

func (t *torture) unsaved(of string, lasts time.Duration, end func()) {
	t.effect(of, lasts, func() { t.trouble(0); end() })
}

// trouble notes that saves may be put off for as long, and until the next try.
func (t *torture) trouble(lasts time.Duration) {
	t.troubled = time.Now().Add(lasts + retrySave)
}

func (t *torture) has(of string) bool {
	return slices.ContainsFunc(t.effects, func(e effect) bool { return e.of == of })
}

// end ends effects now.
func (t *torture) end(of ...string) {
	t.endIf(func(e effect) bool { return slices.Contains(of, e.of) })
}

func (t *torture) endIf(due func(effect) bool) {
	for i := 0; i < len(t.effects); {
		e := t.effects[i]
		if !due(e) {
			i++
			continue
		}
		t.effects = slices.Delete(t.effects, i, i+1)
		t.note("%s: ends", e.of)
		e.end()
	}
}

// wait lets time pass: effects end, and what is delivered is read.
func (t *torture) wait(d time.Duration) {
	for end := time.Now().Add(d); ; {
		t.endIf(func(e effect) bool { return time.Now().After(e.until) })
		t.update()
		left := time.Until(end)
		if left <= 0 {
			return
		}
		pause(min(left, 100*time.Millisecond))
	}
}

// update reads what was delivered and looks at the host.
func (t *torture) update() {
	for _, r := range t.readers {
		records, err := r.Next()
		t.must(err)
		for _, rec := range records {
			t.must(t.book.arrive(rec.String("eventtype"), rec.String("event_id"), rec.JSON, time.Now(), t.kind == flbtest.FluentBit))
		}
	}
	if t.host == nil {
		return
	}
	u, err := t.host.Usage()
	if err != nil {
		return // it has ended
	}
	most, bound := &t.usage, bounds[t.kind]
	most.Files, most.Threads = max(most.Files, u.Files), max(most.Threads, u.Threads)
	if t.faults(duotest.FaultHuge) > t.hugeBefore {
		bound.Peak += hugePages
		t.hugePeak = max(t.hugePeak, u.Peak)
	} else {
		most.Peak = max(most.Peak, u.Peak)
	}
	if u.Peak > bound.Peak || u.Files > bound.Files || u.Threads > bound.Threads {
		t.errorf("the host holds %+v, more than %+v", u, bound)
		t.t.FailNow()
	}
}

// faults returns how many calls met that fault.
func (t *torture) faults(kind duotest.FaultKind) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.met[kind]
}

// start begins a life of the host, and sees that it says what it found broken.
func (t *torture) start() {
	_, err := os.Stat(t.checkpoint(tortured[0]))
	if t.folderIsGone() || err != nil { // it would begin at since, or not at all
		t.end("disk")
	}
	t.lives++
	t.hugeBefore = t.faults(duotest.FaultHuge)
	t.begin(false)
	t.had, t.starts, t.troubled = t.copyAll(), 1, time.Time{}
	t.backlog, err = filepath.Glob(filepath.Join(t.dir, "storage", "*", "*"))
	t.must(err)
	t.host = t.bed.start(t.inputs...)
	for _, re := range t.expect {
		t.waitFor("line "+re.String(), time.Minute, func() bool { t.update(); return re.MatchString(t.host.Log()) })
	}
	t.expect = nil
}

// begin notes what the checkpoints cover: all that was handed over before they
// were saved, less the time that it must have rested, and less the last batch.
func (t *torture) begin(reloaded bool) {
	covered := map[string]time.Time{}
	for _, logs := range torturedInputs {
		last := t.newest(logs).Add(-late)
		for _, log := range logs {
			saved := savedAt(t.checkpoint(log))
			if saved.IsZero() {
				saved = savedAt(t.checkpoint(log) + ".prev")
			}
			if covered[log] = saved.Add(-t.settle - late); last.Before(covered[log]) {
				covered[log] = last
			}
		}
	}
	t.book.begin(time.Now(), covered, reloaded)
}

// newest is when the last event of the logs arrived.
func (t *torture) newest(logs []string) (newest time.Time) {
	for _, log := range logs {
		if last, ok := t.book.lastArrival(log, time.Now()); ok && last.After(newest) {
			newest = last
		}
	}
	return newest
}

// begun is a line that each stream's checkpoint gets when it has been read.
var begun = regexp.MustCompile(`: (going on at|no checkpoint yet|the checkpoint cannot be used|not pulled: )`)

// up waits until the host runs, and has read the checkpoints.
func (t *torture) up() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	t.must(t.host.WaitReady(ctx))
	t.waitFor("start", time.Minute, func() bool {
		t.update()
		log := t.host.Log()
		return len(begun.FindAllString(log, -1)) >= t.starts*len(tortured) &&
			(t.kind == flbtest.CHost || strings.Count(log, reloadDone) >= t.starts-1)
	})
}

func (t *torture) command(line string) { t.bed.command(t.host, line) }

// checkpoint is the path of a log's current generation.
func (t *torture) checkpoint(log string) string {
	host, _, err := net.SplitHostPort(t.duo.Addr)
	t.must(err)
	return filepath.Join(t.stored, host, "self", log+".json")
}

func (t *torture) folderIsGone() bool {
	_, err := os.Lstat(t.stored + ".away")
	return err == nil
}

// savedAt is when a checkpoint was saved; zero for one that cannot be used.
func savedAt(path string) time.Time {
	var file struct {
		Version int
		Stream  struct{ Log string }
		SavedAt time.Time `json:"saved_at"`
	}
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &file) != nil || file.Version != 1 || file.Stream.Log != strings.SplitN(filepath.Base(path), ".", 2)[0] {
		return time.Time{}
	}
	return file.SavedAt
}

var crash = regexp.MustCompile(`a fault in duo_in|panic|DATA RACE|SIGSEGV|fatal error: `)

// over closes the books on a life that was ended at a time, and that may have had
// one of these statuses.
func (t *torture) over(ended time.Time, statuses ...int) {
	status, err := t.host.Wait(context.Background())
	t.must(err)
	log := t.host.Log()
	if !slices.Contains(statuses, status) {
		t.errorf("the host ended with status %d, want one of %d", status, statuses)
	}
	if found := crash.FindString(log); found != "" {
		t.errorf("the host's log holds %q", found)
	}
	if strings.Contains(log, duotest.SecretKey) {
		t.errorf("the secret key is in the log")
	}
	for _, name := range tortured {
		if t.had[t.checkpoint(name)] != nil && strings.Contains(log, name+": no checkpoint yet") {
			t.errorf("%s was begun anew, though it had a checkpoint", name)
		}
	}
	for _, e := range t.host.Exits() {
		t.slowestExit = max(t.slowestExit, e.Own())
	}
	if t.slowestExit > exitLimit {
		t.errorf("an exit took %v, more than %v", t.slowestExit, exitLimit)
	}
	t.update()
	t.host, t.hosts = nil, t.hosts[len(t.hosts)-1:]
	t.book.end(strings.Contains(log, "took too long over a batch"))
	if rested := ended.Add(-t.settle - late); rested.After(t.troubled) && !t.has("disk") && !t.has("pause") {
		t.savedInTime(rested)
	}
	if t.out != nil {
		t.out()
		t.out = nil
	}
	if bad := slices.Concat(t.book.beyond, t.book.foreign); len(bad) > 0 {
		t.errorf("%d records came against the promise:\n%s", len(bad), strings.Join(bad[:min(len(bad), 10)], "\n"))
	}
}

// torturedInputs are the logs of each input.
var torturedInputs = [][]string{tortured[:2], tortured[2:]}

// savedInTime sees that the checkpoints cover what arrived before a time, but
// for the last batch of an input: that may be in a filter still, as long as
// Fluent Bit has counted no other.
func (t *torture) savedInTime(rested time.Time) {
	for _, logs := range torturedInputs {
		before := t.newest(logs).Add(-late)
		if rested.Before(before) {
			before = rested
		}
		for _, log := range logs {
			t.savedBefore(log, before, rested)
		}
	}
}

// savedBefore sees that what arrived of a log before a time, and since the last
// trouble, is in its checkpoint: one that was saved into a folder in another's
// place went with it. rested is said to be when it should have been.
func (t *torture) savedBefore(log string, before, rested time.Time) {
	last, ok := t.book.lastArrival(log, before)
	if !ok || last.Before(t.troubled) {
		return
	}
	t.saves++
	if saved := savedAt(t.checkpoint(log)); saved.Before(last.Add(-time.Second)) {
		t.errorf("%s: events arrived until %s, and by %s the checkpoint was still that of %s", log, last.Format(clockTime),
			rested.Add(t.settle+late).Format(clockTime), saved.Format(clockTime))
	}
}

// calm ends all trouble, and waits until all is there that Duo showed before a
// time. A kill after it must find all but the last events saved.
func (t *torture) calm(before time.Time, kill bool) {
	t.calms++
	t.endIf(func(effect) bool { return true })
	t.server.ClearFaults()
	t.start()
	missing := 0
	for end := time.Now().Add(90 * time.Second); ; {
		t.update()
		if missing = t.book.missing(before); missing == 0 {
			break
		}
		if time.Now().After(end) {
			t.errorf("%d events are missing: %s", missing, strings.Join(t.book.lost(20), "; "))
			t.t.FailNow()
		}
		pause(100 * time.Millisecond)
	}
	if kill {
		t.wait(t.settle + late + retrySave)
		t.byKill(nil)
	} else {
		t.byStop(nil)
	}
	for _, log := range tortured {
		if savedAt(t.checkpoint(log)).IsZero() {
			t.errorf("%s has no checkpoint that can be used after all is there", log)
		}
	}
}

// report prints the figures.
func (t *torture) report() {
	faults, kinds := 0, []string{}
	for kind, n := range t.met {
		faults += n
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
	}
	slices.Sort(kinds)
	exit := fmt.Sprint(t.slowestExit)
	if t.kind == flbtest.FluentBit {
		exit = "it does not say"
	}
	mib := func(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
	var b strings.Builder
	for _, row := range [][2]string{
		{"seed, host, length", fmt.Sprintf("%d, %v, %v", t.seed, t.kind, t.length)},
		{"lives", fmt.Sprint(t.lives)},
		{"kills", fmt.Sprint(t.kills)},
		{"clean stops", fmt.Sprint(t.stops)},
		{"reloads", fmt.Sprint(t.reloads)},
		{"calls that met a fault", fmt.Sprintf("%d (%s)", faults, strings.Join(kinds, ", "))},
		{"Duo out of reach", fmt.Sprint(t.outages)},
		{"clock leaps", fmt.Sprint(t.leaps)},
		{"pauses, stalls, drops", fmt.Sprint(t.pauses)},
		{"disk full or folder gone", fmt.Sprint(t.disks)},
		{"checkpoints damaged", fmt.Sprint(t.damaged)},
		{"calms, all there", fmt.Sprint(t.calms)},
		{"saves found in time", fmt.Sprint(t.saves)},
		{"events filed", fmt.Sprint(t.book.filed())},
		{"records delivered", fmt.Sprint(t.book.records)},
		{"of them twice", fmt.Sprintf("%d, beyond the promise %d", t.book.twice, len(t.book.beyond))},
		{"missing", fmt.Sprint(t.book.missing(time.Now().Add(time.Hour)))},
		{"most resident", fmt.Sprintf("%s, of those that met a huge page %s", mib(t.usage.Peak), mib(t.hugePeak))},
		{"most files, threads", fmt.Sprintf("%d, %d", t.usage.Files, t.usage.Threads)},
		{"slowest exit of the plugin", exit},
		{"slowest stop of the host", fmt.Sprint(t.slowestStop.Round(time.Millisecond))},
	} {
		fmt.Fprintf(&b, "| %-30s | %s |\n", row[0], row[1])
	}
	t.t.Logf("\n%s", b.String())
}
