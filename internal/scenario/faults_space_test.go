//go:build cgo

package scenario

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// hostsRead is how long Go keeps what it read of /etc/hosts (net/hosts.go:
// cacheMaxAge), and a little more.
const hostsRead = 5500 * time.Millisecond

// forget takes the name of the cell's Duo away, and the connections, since over
// one that stands no name is needed.
func (c *cell) forget() error {
	if err := c.rig.space.resolves(c.hostname(), false); err != nil || c.place == atStart {
		return err
	}
	pause(hostsRead)
	c.duo.Close()
	return c.listen()
}

func (c *cell) recall() error { return c.rig.space.resolves(c.hostname(), true) }

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
