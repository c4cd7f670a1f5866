//go:build cgo

package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// act is something that is done to a host or to what is around it.
type act struct {
	name  string
	share [2]int // by kind of host, among the acts beside it; 0: not in this one
	do    func(*torture, *rand.Rand)
}

// acts are done while the host lives.
var acts = []act{
	{"fault", [2]int{60, 60}, (*torture).fault},
	{"outage", [2]int{4, 4}, (*torture).outage},
	{"leap", [2]int{5, 5}, (*torture).leap},
	{"full disk", [2]int{3, 3}, (*torture).fullDisk},
	{"folder away", [2]int{2, 2}, (*torture).folderAway},
	{"file there", [2]int{2, 2}, (*torture).fileThere},
	{"reload", [2]int{5, 5}, (*torture).reload},
	{"pause", [2]int{5, 0}, (*torture).pauseOne},
	{"stall", [2]int{5, 0}, (*torture).stall},
	{"drop", [2]int{2, 0}, (*torture).drop},
}

// ends end a life.
var ends = []act{
	{"kill", [2]int{70, 70}, (*torture).byKill},
	{"stop", [2]int{15, 15}, (*torture).byStop},
	{"stop, kill", [2]int{15, 15}, (*torture).byBoth},
}

// answers are what Duo may answer instead of a page, each with its share.
var answers = []struct {
	share int
	fault duotest.Fault
}{
	{4, duotest.Fault{Kind: duotest.FaultStatus, Status: 500}},
	{3, duotest.Fault{Kind: duotest.FaultStatus, Status: 502}},
	{3, duotest.Fault{Kind: duotest.FaultStatus, Status: 503}},
	// After the next five a stream waits for minutes: until the life ends.
	{1, duotest.Fault{Kind: duotest.FaultStatus, Status: 400}},
	{1, duotest.Fault{Kind: duotest.FaultStatus, Status: 401}},
	{1, duotest.Fault{Kind: duotest.FaultStatus, Status: 403}},
	{1, duotest.Fault{Kind: duotest.FaultStatus, Status: 404}},
	{2, duotest.Fault{Kind: duotest.FaultRateLimit, Header: map[string][]string{"Retry-After": {"1"}}}},
	{2, duotest.Fault{Kind: duotest.FaultRedirect}},
	{3, duotest.Fault{Kind: duotest.FaultFail}},
	{3, duotest.Fault{Kind: duotest.FaultHTML}},
	{3, duotest.Fault{Kind: duotest.FaultHang}},
	{4, duotest.Fault{Kind: duotest.FaultReset}},
	{4, duotest.Fault{Kind: duotest.FaultTruncate}},
	{4, duotest.Fault{Kind: duotest.FaultBroken}},
	{2, duotest.Fault{Kind: duotest.FaultSlow, Delay: 50 * time.Millisecond}},
	{2, duotest.Fault{Kind: duotest.FaultSlow, Delay: 400 * time.Millisecond}}, // beyond the timeout
	{3, duotest.Fault{Kind: duotest.FaultGzip}},
	{4, duotest.Fault{Kind: duotest.FaultSameOffset}},
	{4, duotest.Fault{Kind: duotest.FaultRewind}},
	{1, duotest.Fault{Kind: duotest.FaultHuge, Size: 20 << 20}},
}

// fault plans one to three faults of some kind for some log.
func (t *torture) fault(rnd *rand.Rand) {
	all := 0
	for _, f := range answers {
		all += f.share
	}
	n := rnd.IntN(all)
	i := 0
	for n -= answers[0].share; n >= 0; n -= answers[i].share {
		i++
	}
	f := answers[i].fault
	f.Log, f.Skip, f.N = pick(rnd, tortured), rnd.IntN(4), 1+rnd.IntN(3)
	if rnd.IntN(4) == 0 {
		f.Log = ""
	}
	if t.server.Faults() > 10 { // they wait for calls that may not come in this life
		t.server.ClearFaults()
	}
	t.note("%s %d for %q, %d times after %d", f.Kind, f.Status, f.Log, f.N, f.Skip)
	t.server.Fault(f)
}

// outage closes Duo's listener for a while.
func (t *torture) outage(rnd *rand.Rand) {
	if t.has("net") {
		return
	}
	t.duo.Close()
	t.outages++
	t.effect("net", between(rnd, 100*time.Millisecond, 2*time.Second), func() {
		t.waitFor("address of the simulated Duo", time.Minute, func() bool {
			duo, err := t.server.Listen(t.duo.Addr)
			if err == nil {
				t.duo = duo
			}
			return err == nil
		})
	})
}

// leap sets Duo's clock off from ours for a while, in either direction; by more
// than five minutes the signature's date is refused.
func (t *torture) leap(rnd *rand.Rand) {
	if t.has("clock") {
		return
	}
	by := between(rnd, time.Second, 4*time.Minute)
	if rnd.IntN(4) == 0 {
		by = between(rnd, 6*time.Minute, 48*time.Hour)
	}
	if rnd.IntN(2) == 0 {
		by = -by
	}
	t.note("Duo's clock is %v off", by)
	t.clock.off.Store(int64(by))
	t.leaps++
	t.effect("clock", between(rnd, 500*time.Millisecond, 4*time.Second), func() { t.clock.off.Store(0) })
}

// fullDisk fills the volume of the checkpoint folder.
func (t *torture) fullDisk(rnd *rand.Rand) {
	if !t.mounted || t.has("disk") {
		return
	}
	path := filepath.Join(t.disk, "filler")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	t.must(err)
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.must(err)
		}
	}
	t.disks++
	t.unsaved("disk", between(rnd, 200*time.Millisecond, 5*time.Second), func() { t.must(os.Remove(path)) })
}

// folderAway moves the checkpoints away, and later back over what has been made
// in their place.
func (t *torture) folderAway(rnd *rand.Rand) {
	if t.has("disk") {
		return
	}
	t.up() // so that it has read them
	t.moveAway()
	t.unsaved("disk", between(rnd, 200*time.Millisecond, 5*time.Second), t.moveBack)
}

// fileThere moves the checkpoints away and puts a file in their place.
func (t *torture) fileThere(rnd *rand.Rand) {
	if t.has("disk") {
		return
	}
	t.up()
	t.waitFor("place for a file", time.Minute, func() bool {
		t.moveAway()
		f, err := os.OpenFile(t.stored, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			t.moveBack() // a save was faster
			return false
		}
		return f.Close() == nil
	})
	t.unsaved("disk", between(rnd, 200*time.Millisecond, 5*time.Second), t.moveBack)
}

func (t *torture) moveAway() {
	t.disks++
	if err := os.Rename(t.stored, t.stored+".away"); !errors.Is(err, fs.ErrNotExist) {
		t.must(err)
	}
}

// moveBack removes what a save has made meanwhile, which may come in between.
func (t *torture) moveBack() {
	if _, err := os.Lstat(t.stored + ".away"); err != nil {
		return
	}
	t.waitFor("place for the checkpoints", time.Minute, func() bool {
		_ = os.RemoveAll(t.stored)
		return os.Rename(t.stored+".away", t.stored) == nil
	})
}

// reload has the host begin anew in the same process; one in four reloads of the
// C host is not waited for.
func (t *torture) reload(rnd *rand.Rand) {
	if t.folderIsGone() { // Init would make a new one, and begin at since
		return
	}
	t.up()
	if !t.backlogIsRead() {
		return
	}
	t.reloads++
	t.starts++
	t.begin(true)
	if t.kind == flbtest.FluentBit {
		t.must(t.host.Signal(syscall.SIGHUP))
		t.up()
		return
	}
	t.end("pause") // the new inputs are not paused
	limit := 20 * time.Second
	if rnd.IntN(4) == 0 {
		limit = 10 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := t.host.Command(ctx, "reload"); err != nil && ctx.Err() == nil {
		t.must(err)
	}
}

// backlogIsRead waits until Fluent Bit has taken up what other lives left in its
// storage. A reload before that never ends: it waits for these chunks without a
// limit (src/flb_reload.c sets grace to -1), and has paused what reads them.
func (t *torture) backlogIsRead() bool {
	for range 50 {
		if !slices.ContainsFunc(t.backlog, func(path string) bool { return size(path) >= 0 }) {
			return true
		}
		t.wait(100 * time.Millisecond)
	}
	t.note("no reload: there is a backlog")
	return false
}

// pauseOne pauses an input for a while, or until its end.
func (t *torture) pauseOne(rnd *rand.Rand) {
	if t.has("pause") {
		return
	}
	t.up()
	tag := pick(rnd, t.inputs).Tag
	t.command("pause " + tag)
	t.pauses++
	host := t.host
	t.unsaved("pause", between(rnd, 50*time.Millisecond, 2*time.Second), func() {
		if t.host == host {
			t.command("resume " + tag)
		}
	})
}

// stall holds the main thread up, so that it does not empty the rings, and may
// well be killed meanwhile.
func (t *torture) stall(rnd *rand.Rand) {
	t.up()
	t.pauses++
	lasts := between(rnd, 10*time.Millisecond, 3*t.settle)
	t.trouble(lasts)
	t.command(fmt.Sprintf("stall %d", lasts.Milliseconds()))
}

// drop has the host lose the next append or two, as with a full ring.
func (t *torture) drop(rnd *rand.Rand) {
	t.up()
	t.pauses++
	t.trouble(5 * time.Second) // the callback is held up for a second each
	t.command(fmt.Sprintf("drop %s %d", pick(rnd, t.inputs).Tag, 1+rnd.IntN(2)))
}

func (t *torture) byKill(*rand.Rand) {
	t.kills++
	t.must(t.host.Kill())
	t.over(time.Now(), 137)
}

func (t *torture) byStop(*rand.Rand) {
	t.stops++
	asked := time.Now()
	t.up() // before that SIGTERM ends it as anything does that does not catch it
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	took, err := t.host.Stop(ctx)
	if err != nil {
		t.errorf("stop: %v", err)
		_ = t.host.Kill()
	}
	t.slowestStop = max(t.slowestStop, took)
	t.over(asked, 0)
}

// byBoth kills the host while it stops, or just after.
func (t *torture) byBoth(rnd *rand.Rand) {
	t.kills++
	asked := time.Now()
	if err := t.host.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.must(err)
	}
	// It takes no command any more.
	t.effects = slices.DeleteFunc(t.effects, func(e effect) bool { return e.of == "pause" })
	t.trouble(0)
	t.wait(between(rnd, 0, time.Second))
	t.must(t.host.Kill())
	t.over(asked, 0, 137, 143)
}

// damage is what is done to the checkpoints while no host lives.
type damage struct {
	name string
	do   func(*rand.Rand, damaged) []byte // what is to stand in the place of the current generation; nil: nothing
}

// damaged is one stream's checkpoint.
type damaged struct {
	path             string
	current, another []byte // another log's
}

// damages are those after which the generation before is used, and two others.
var damages = []damage{
	{"cut", func(rnd *rand.Rand, c damaged) []byte {
		return c.current[:rnd.IntN(len(c.current)-1)] // all but its last newline would do
	}},
	{"rubbish", func(rnd *rand.Rand, c damaged) []byte {
		b := make([]byte, rnd.IntN(2*len(c.current)))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}},
	{"newer", func(_ *rand.Rand, c damaged) []byte {
		return bytes.Replace(c.current, []byte(`"version": 1`), []byte(`"version": 2`), 1)
	}},
	{"another's", func(_ *rand.Rand, c damaged) []byte { return c.another }},
	{"gone", func(*rand.Rand, damaged) []byte { return nil }},
	{name: "older"}, // a copy of all files, made before the last damage but one or two, is put back
	{name: "both"},  // no generation of a stream can be used; later the operator mends it
}

// damage does one of the damages, to the checkpoint of some log or of all.
func (t *torture) damage(d damage, rnd *rand.Rand) {
	copied := t.copyAll()
	defer func() { t.copies = append(t.copies[max(0, len(t.copies)-2):], copied) }()
	if d.name == "older" {
		if len(t.copies) > 0 {
			t.damaged++
			t.putBack(pick(rnd, t.copies))
		}
		return
	}
	logs := []string{pick(rnd, tortured)}
	if d.name != "both" && rnd.IntN(3) == 0 {
		logs = tortured
	}
	for _, log := range logs {
		path := t.checkpoint(log)
		if savedAt(path).IsZero() || savedAt(path+".prev").IsZero() {
			continue // too early in the torture
		}
		t.damaged++
		c := damaged{path: path, current: copied[path]}
		if d.name == "both" {
			t.replace(path, c.current[:rnd.IntN(len(c.current)/2)])
			t.replace(path+".prev", copied[path+".prev"][:rnd.IntN(20)])
			t.expect = append(t.expect, regexp.MustCompile(log+`: not pulled: checkpoint .* cannot be used`))
			t.mend(log, copied)
			continue
		}
		for _, other := range tortured {
			if other != log {
				c.another = copied[t.checkpoint(other)]
			}
		}
		t.replace(path, d.do(rnd, c))
		t.expect = append(t.expect, regexp.MustCompile(log+`: the checkpoint cannot be used \(.*going on from the one before it, saved `))
	}
}

// mend has the operator restore both generations before the next but one start;
// until then the stream must stay out, and its files be left alone.
func (t *torture) mend(log string, copied map[string][]byte) {
	path := t.checkpoint(log)
	calls, paths := t.server.Count(log).Calls, []string{path, path + ".prev"}
	broken := t.copyAll()
	t.out = func() {
		t.end("disk")
		if n := t.server.Count(log).Calls - calls; n > 0 {
			t.errorf("%s was asked for %d times without a checkpoint that can be used", log, n)
		}
		for _, path := range paths {
			if now, _ := os.ReadFile(path); !bytes.Equal(now, broken[path]) {
				t.errorf("%s, which cannot be used, was replaced: %.200q", path, now)
			}
			t.replace(path, copied[path])
		}
	}
}

// replace puts a file in the place of another, as a restore does; nil removes it.
func (t *torture) replace(path string, content []byte) {
	t.note("%s: %d bytes, there were %d", filepath.Base(path), len(content), size(path))
	if content == nil {
		t.must(os.Remove(path))
		return
	}
	t.must(os.WriteFile(path+".new", content, 0o600))
	t.must(os.Rename(path+".new", path))
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return info.Size()
}

// copyAll reads all checkpoints there are, by path.
func (t *torture) copyAll() map[string][]byte {
	all := map[string][]byte{}
	for _, log := range tortured {
		for _, path := range []string{t.checkpoint(log), t.checkpoint(log) + ".prev"} {
			if b, err := os.ReadFile(path); err == nil {
				all[path] = b
			}
		}
	}
	return all
}

func (t *torture) putBack(files map[string][]byte) {
	for path, content := range files {
		t.replace(path, content)
	}
}

// torn leaves behind what a kill between any two system calls of a save does:
// the file that was to become the current generation, whole or not, the link
// that was to become the one before, and both names for one file.
func (t *torture) torn(rnd *rand.Rand) {
	path := t.checkpoint(pick(rnd, tortured))
	current, err := os.ReadFile(path)
	if err != nil || t.has("disk") || savedAt(path).IsZero() { // a save puts aside what is not sound
		return
	}
	t.damaged++
	hidden := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	t.must(os.WriteFile(hidden+"123456789", current[:rnd.IntN(len(current)+1)], 0o600))
	stage := rnd.IntN(3)
	t.note("stage %d of a save of %s", stage, path)
	if stage == 0 {
		return
	}
	_ = os.Remove(hidden + ".prev")
	t.must(os.Link(path, hidden+".prev"))
	if stage == 2 {
		t.must(os.Rename(hidden+".prev", path+".prev"))
	}
}

// between is a duration from least to less than most.
func between(rnd *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rnd.Int64N(int64(most-least)))
}
