package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"time"

	"duo_in/checkpoint"
)

const checkpointHelp = `usage: duoctl checkpoint [-dir folder] [-json] [show]
       duoctl checkpoint [-dir folder] rewind [flags] time

Shows where duo_in reads each log of each account on, and how far that is behind; or sets it back to a time, so that what
was delivered since then is delivered again. It makes no folder, and it asks Duo nothing.

show may be used while Fluent Bit runs. It ends with status 1 if a checkpoint cannot be used. For rewind, stop Fluent Bit
first, and run it as the user that Fluent Bit runs as.

examples:
  duoctl checkpoint
  duoctl checkpoint -dir /var/lib/duo_in rewind -log authentication 2026-02-13T18:00:00Z
  duoctl checkpoint rewind 36h
`

// runCheckpoint shows cursors or rewinds them.
func runCheckpoint(args []string, stdout, _ io.Writer) error {
	f := flag.NewFlagSet("checkpoint", flag.ContinueOnError)
	dir := f.String("dir", checkpoint.DefaultDir, "`folder` that is duo_in's checkpoint_dir")
	asJSON := f.Bool("json", false, "show as JSON, a list of objects")
	if err := parseFlags(f, args, stdout, checkpointHelp); err != nil {
		return err
	}
	switch f.Arg(0) {
	case "":
		return showCheckpoints(*dir, *asJSON, time.Now(), stdout)
	case "show":
		show := flag.NewFlagSet("show", flag.ContinueOnError)
		show.BoolVar(asJSON, "json", *asJSON, "show as JSON, a list of objects")
		if err := parse(show, f.Args()[1:], stdout, checkpointHelp); err != nil {
			return err
		}
		return showCheckpoints(*dir, *asJSON, time.Now(), stdout)
	case "rewind":
		r, err := parseRewind(f.Args()[1:], stdout)
		if err != nil {
			return err
		}
		return r.run(*dir, time.Now(), stdout)
	}
	return usageError{fmt.Errorf("argument %q: want show or rewind", f.Arg(0))}
}

// list returns the checkpoints in dir; with an error that explains a folder that has none or cannot be read.
func list(dir string) ([]checkpoint.Entry, error) {
	entries, err := checkpoint.List(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return entries, fmt.Errorf("-dir %q: %w: run this as the user that Fluent Bit runs as", dir, err)
	case err != nil:
		return entries, fmt.Errorf("-dir %q: %w: give the folder that is duo_in's checkpoint_dir", dir, err)
	case len(entries) == 0:
		return nil, fmt.Errorf("-dir %q: no checkpoint in it: give the folder that is duo_in's checkpoint_dir; duo_in makes its checkpoints when it first starts", dir)
	}
	return entries, nil
}

// held are the slots of several streams, and with them their locks.
type held struct {
	streams []checkpoint.Stream
	slots   []*checkpoint.Slot
}

// hold takes the locks of the streams in the folder dir, which it makes if it is missing. It waits for none of them. Also
// on an error the caller releases what it returns.
func hold(dir string, streams []checkpoint.Stream) (*held, error) {
	h := &held{streams: streams}
	store, err := checkpoint.Open(dir)
	if err != nil {
		return h, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // one try
	for _, st := range streams {
		slot, err := store.Acquire(ctx, st, "duoctl")
		var locked *checkpoint.LockedError
		if errors.As(err, &locked) {
			return h, fmt.Errorf("%s is in use by %s, pid %d: stop Fluent Bit first; nothing was changed", st, cmp.Or(locked.Owner, "another process"), locked.PID)
		}
		if err != nil {
			return h, err
		}
		h.slots = append(h.slots, slot)
	}
	return h, nil
}

// release gives the locks back. That cannot fail in a way that outlasts this process.
func (h *held) release() {
	for _, slot := range h.slots {
		slot.Release()
	}
}
