//go:build cgo

package scenario

import (
	"context"
	"os"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// hostTroubles are those of the host and its machine.
var hostTroubles = []trouble{
	{name: "name not resolved", whole: true, where: inSpace, call: duotest.Fault{Kind: duotest.FaultHang, N: 1}, begin: (*cell).forget, end: (*cell).recall},
	{name: "checkpoint folder gone", whole: true, calm: true, seldom: true, held: true, late: true, begin: (*cell).moveFolder},
	{name: "a file in the checkpoint folder's place", whole: true, held: true, unsaved: true, refused: true, begin: (*cell).replaceFolder, end: (*cell).restoreFolder},
	{name: "disk full", whole: true, held: true, unsaved: true, refused: true, where: inSpace, begin: (*cell).fillDisk, end: (*cell).emptyDisk},
	{name: "disk read-only", whole: true, held: true, unsaved: true, refused: true, where: inSpace, begin: (*cell).freezeDisk, end: (*cell).thawDisk},
	{name: "Fluent Bit pauses the input (C host only)", whole: true, calm: true, held: true, late: true, unsaved: true, where: inCHost,
		begin: (*cell).pauseInput, end: (*cell).resumeInput},
	{name: "`stat` FAIL while it is paused (C host only)", whole: true, held: true, late: true, unsaved: true, where: inCHost,
		begin: (*cell).pauseAndFail, end: (*cell).resumeInput},
	{name: "SIGTERM", calm: true, held: true, host: stopIt, set: unsavedYet, never: map[place]string{atExit: isTheExit}},
	{name: "SIGHUP", calm: true, held: true, host: reloadIt, set: unsavedYet, never: map[place]string{atExit: isTheExit}},
}

const isTheExit = "it is the exit"

// unsavedYet keeps cursors from being saved before the signal comes.
var unsavedYet = []flbtest.Option{opt("settle", "1m")}

func allTroubles() (all []*trouble) {
	for _, table := range [][]trouble{apiTroubles, hostTroubles} {
		for i := range table {
			all = append(all, &table[i])
		}
	}
	return all
}

// moveFolder takes the checkpoints away, for good.
func (c *cell) moveFolder() error { return os.Rename(c.folder(), c.folder()+".gone") }

// replaceFolder has a file where the checkpoints are to be.
func (c *cell) replaceFolder() error {
	if err := os.Rename(c.folder(), c.folder()+".kept"); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.MkdirAll(c.rig.dir+"/checkpoints", 0o700); err != nil {
		return err
	}
	return os.WriteFile(c.folder(), nil, 0o600)
}

func (c *cell) restoreFolder() error {
	if err := os.Remove(c.folder()); err != nil {
		return err
	}
	if err := os.Rename(c.folder()+".kept", c.folder()); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (c *cell) command(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return c.rig.host.Command(ctx, name+" "+c.tag)
}

func (c *cell) pauseInput() error { return c.command("pause") }

// pauseAndFail has something to say while nobody asks for lines.
func (c *cell) pauseAndFail() error {
	c.server.Fault(duotest.Fault{Kind: duotest.FaultFail, N: -1})
	return c.pauseInput()
}

// resumeInput ends a pause, if the host still runs.
func (c *cell) resumeInput() error {
	if closed(c.rig.gone) {
		return nil
	}
	return c.command("resume")
}
