//go:build cgo

package scenario

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"duo_in/duo/duotest"
)

// hostsRead is how long Go keeps what it read of /etc/hosts (net/hosts.go:
// cacheMaxAge), and a little more.
const hostsRead = 5500 * time.Millisecond

// forget takes the name of the cell's Duo away, and the connections, since over
// one that stands no name is needed.
func (c *cell) forget() error {
	if err := c.rig.space.resolves(c, false); err != nil || c.place == atStart {
		return err
	}
	pause(hostsRead)
	c.duo.Close()
	return c.listen()
}

func (c *cell) recall() error { return c.rig.space.resolves(c, true) }

func (c *cell) filler() string { return c.rig.space.path(filepath.Join(c.folder(), "filler")) }

// fillDisk leaves no byte on the disk of the cell's checkpoints.
func (c *cell) fillDisk() error {
	f, err := os.OpenFile(c.filler(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(bytes.Repeat([]byte("x"), 512))
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

func (c *cell) emptyDisk() error { return os.Remove(c.filler()) }

func (c *cell) freezeDisk() error { return c.remount("ro") }
func (c *cell) thawDisk() error   { return c.remount("rw") }

func (c *cell) remount(how string) error {
	return c.rig.space.do("mount", "-o", "remount,"+how, c.folder())
}

// A disk that is full when the host starts again is no reason to stay out: from
// where the checkpoint is all is delivered, at the latest when there is room.
func TestRestartOnFullDisk(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		c := &cell{trouble: &trouble{name: "disk full", where: inSpace, call: duotest.Fault{Kind: duotest.FaultRewrite, Rewrite: unchanged}}}
		r := newRig(b, newSightings(), []*cell{c})
		if !r.enterSpace() {
			return
		}
		defer c.close()
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"backlog", c.plan},
			{"first run", r.launched},
			{"all of it", c.whole},
			{"stop", func() error { r.halt(); return nil }},
			{"full disk", c.fillDisk},
			{"new events", func() error { c.file(cellLog, c.events, cellLive, time.Now(), time.Now()); return nil }},
			{"second run", r.launched},
			{"line", func() error { return c.await("line", cellLimit, func() bool { return len(c.lines().begin) == 1 }) }},
			{"room on the disk", c.emptyDisk},
			{"all of them", c.whole},
			{"its end", func() error { return c.await("line", cellLimit, func() bool { return len(c.lines().end) == 1 }) }},
			{"last stop", func() error { r.halt(); return nil }},
		} {
			if err := step.do(); err != nil {
				b.t.Fatalf("%s: %v; lines:\n%s", step.name, err, strings.Join(r.said.of(c.name), "\n"))
			}
		}
		if c.got.update(); c.got.twice() > 0 {
			b.t.Errorf("%d events came twice", c.got.twice())
		}
	})
}
