//go:build cgo && linux

package scenario

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// The lines of an input that waits for room on the disk of Fluent Bit's buffer.
const (
	noRoom    = "no room for Fluent Bit's buffer"
	roomAgain = "there is room for Fluent Bit's buffer again"
)

// onVolume is a bed with Fluent Bit's buffer on a volume.
func onVolume(t *testing.T, v *volume, siem func() *flbtest.Receiver, options ...flbtest.Option) (b *bed, spec func() flbtest.Spec) {
	b = newBed(t, flbtest.FluentBit, quickDuo)
	in := b.input("duo", append(options, opt("logs", "authentication"), opt("storage.type", "filesystem"), opt("delay", "0s"))...)
	return b, func() flbtest.Spec {
		return b.pipeline([]flbtest.Option{opt("storage.path", filepath.Join(v.path, "storage"))}, map[string]*flbtest.Receiver{"duo": siem()}, in)
	}
}

// take has somebody else use a volume until only so many bytes are free, and
// with 0 also what is for root alone.
func (v *volume) take(left int) (file string) {
	v.t.Helper()
	file = filepath.Join(v.path, "another")
	f, err := os.Create(file)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); left == 0 || v.free() > left; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			v.t.Fatal(err)
		}
	}
	return file
}

// free is how many bytes anybody may use.
func (v *volume) free() int {
	v.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(v.path, &s); err != nil {
		v.t.Fatal(err)
	}
	return int(s.Bavail) * int(s.Bsize)
}

// waits holds that an input says that it waits, and that Duo is not called from
// when its queue is full.
func (b *bed) waits(p *flbtest.Process, d time.Duration) {
	b.t.Helper()
	b.waitFor("wait", time.Minute, func() bool { return strings.Contains(p.Log(), noRoom) })
	calls := func() int { return b.server.Count(duotest.Authentication).Calls }
	pause(2 * time.Second)
	before := calls()
	pause(d)
	b.t.Logf("%d calls, and then %d in %v", before, calls()-before, d)
	if calls() > before {
		b.t.Errorf("%d calls to Duo while nothing is handed over", calls()-before)
	}
}

// kept holds that Fluent Bit has dropped nothing that it was given, and what
// the input has said.
func (b *bed) kept(p *flbtest.Process, says map[string]int) {
	b.t.Helper()
	for _, lost := range []string{"error writing data", "no available chunk", "No space left"} {
		says[lost] = 0
	}
	for line, want := range says {
		if n := strings.Count(p.Log(), line); n != want {
			b.t.Errorf("%q is in the log %d times, want %d", line, n, want)
		}
	}
}

// An output is down until what is not delivered fills the disk of Fluent Bit's
// buffer, up to the reserve. Then somebody else takes that as well, and Fluent Bit
// is killed and started. The rest stays at Duo, and all arrives once the output is up.
func TestOutputDownUntilDiskIsFull(t *testing.T) {
	d := underPressure(t, true)
	v := newVolume(t, "64M")
	siem := down(t)
	b, spec := onVolume(t, v, func() *flbtest.Receiver { return siem })
	b.backlog(pressed, duotest.Authentication)
	v.take(17 << 20) // of which 14 are the reserve
	p := b.startSpec(spec())
	b.waits(p, time.Second)
	t.Logf("%d KiB are free", v.free()>>10)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	b.kept(p, map[string]int{noRoom: 1, roomAgain: 0})
	file := v.take(0)
	p = b.startSpec(spec())
	b.waits(p, d)
	b.kept(p, map[string]int{noRoom: 1, roomAgain: 0})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	siem = up(t, siem)
	arrived := func() int { got, _ := byLog(t, siem.Lines()); return got[duotest.Authentication] }
	b.waitFor("all events", time.Minute, func() bool { return arrived() == pressed })
	b.waitFor("end of the wait", time.Minute, func() bool { return strings.Contains(p.Log(), roomAgain) })
	b.stop(p)
	b.kept(p, map[string]int{noRoom: 1, roomAgain: 1})
	_, twice := byLog(t, siem.Lines())
	t.Logf("%d events came twice, of one kill", twice)
	if twice > 3000 { // a page and two batches of an eighth of the reserve
		t.Errorf("%d events came twice", twice)
	}
}

// Somebody else fills the disk, once while Fluent Bit runs, whose output is so
// quick that a chunk lives for an instant only, and once before it is started,
// when there is no chunk.
func TestDiskFilledBySomebodyElse(t *testing.T) {
	d := underPressure(t, true)
	v := newVolume(t, "64M")
	siem := receiver(t, "tcp")
	b, spec := onVolume(t, v, func() *flbtest.Receiver { return siem }, opt("checkpoint_dir", filepath.Join(v.path, "checkpoints")))
	arrived := func() int { got, _ := byLog(t, siem.Lines()); return got[duotest.Authentication] }
	b.backlog(1000, duotest.Authentication)
	p := b.startSpec(spec())
	b.waitFor("events", time.Minute, func() bool { return arrived() == 1000 })
	for i, start := range []bool{false, true} {
		if start {
			pause(time.Second) // a clean stop may repeat what was handed over in the half second before it
			b.stop(p)
		}
		file := v.take(0)
		if start {
			p = b.startSpec(spec())
		}
		b.waitFor("wait", time.Minute, func() bool { return strings.Contains(p.Log(), noRoom) })
		before := (i + 1) * 1000
		b.server.Add(duotest.Authentication, duotest.NewRecords(duotest.Authentication, uint64(90+i), time.Now().Add(-2*time.Second), time.Now(), 1000)...)
		pause(d)
		if n := arrived(); n != before {
			t.Errorf("%d events arrived through a full disk", n-before)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		b.waitFor("all events", time.Minute, func() bool { return arrived() == before+1000 })
		b.kept(p, map[string]int{noRoom: 1})
	}
	b.waitFor("end of the wait", time.Minute, func() bool { return strings.Contains(p.Log(), roomAgain) })
	b.stop(p)
	b.kept(p, map[string]int{noRoom: 1, roomAgain: 1})
	b.routed("the collector", siem.Lines(), map[string]int{duotest.Authentication: 3000}, 0)
}
