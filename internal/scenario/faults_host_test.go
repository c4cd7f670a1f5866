//go:build cgo

package scenario

import (
	"context"
	"fmt"
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
	{name: "disk full", whole: true, held: true, unsaved: true, refused: true, waits: true, where: inSpace, begin: (*cell).fillDisk, end: (*cell).emptyDisk},
	{name: "disk read-only", whole: true, held: true, unsaved: true, refused: true, where: inSpace, begin: (*cell).freezeDisk, end: (*cell).thawDisk},
	{name: "Fluent Bit pauses the input (C host only)", whole: true, calm: true, held: true, late: true, unsaved: true, where: inCHost,
		begin: (*cell).pauseInput, end: (*cell).resumeInput},
	{name: "`stat` FAIL while it is paused (C host only)", whole: true, held: true, late: true, unsaved: true, where: inCHost,
		begin: (*cell).pauseAndFail, end: (*cell).resumeInput},
	{name: "the queue is full (C host only)", whole: true, calm: true, held: true, late: true, unsaved: true, where: inCHost, backlog: 9000,
		set:   []flbtest.Option{opt("page_size", "1000"), opt("batch_size", "4M")}, // and so a queue of 8 MiB
		begin: (*cell).fillQueue, end: (*cell).resumeInput,
		never: map[place]string{atStart: needsMany, firstPage: needsMany, emptyPage: needsMany, idlePoll: needsMany, saving: needsMany}},
	{name: "SIGTERM", calm: true, held: true, host: stopIt, set: unsavedYet, never: map[place]string{atExit: isTheExit}},
	{name: "SIGHUP", calm: true, held: true, host: reloadIt, set: unsavedYet, never: map[place]string{atExit: isTheExit}},
}

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

// restoreFolder takes the file away. A host that runs makes the folder anew at
// its next save; without one it is put back.
func (c *cell) restoreFolder() error {
	if err := os.Remove(c.folder()); err != nil || !closed(c.rig.gone) {
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

// fillQueue pauses the input until no more calls are made, though there is more
// to be read.
func (c *cell) fillQueue() error {
	if err := c.pauseInput(); err != nil {
		return err
	}
	c.answer()
	const still = 20 // looks at the calls, a tenth of a second apart
	calls, since := 0, 0
	err := c.await("end of the calls", cellLimit, func() bool {
		n := c.server.Count(cellLog).Calls
		if since++; n != calls {
			calls, since = n, 0
		}
		return since == still
	})
	if sent := c.server.Count(cellLog).Records; err == nil && sent >= c.filed {
		return fmt.Errorf("all %d events were read: the queue was never full", sent)
	}
	return err
}

// resumeInput ends a pause, if the host still runs.
func (c *cell) resumeInput() error {
	if closed(c.rig.gone) {
		return nil
	}
	return c.command("resume")
}
