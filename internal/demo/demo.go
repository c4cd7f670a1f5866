package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"duo_in/internal/flbtest"
)

// errIncomplete says that an event was missing.
var errIncomplete = errors.New("not every event was delivered")

const tag = "duo"

// demo is what is shown, and how much of it.
type demo struct {
	out            io.Writer
	duoctl, plugin string        // paths
	width          int           // characters of a record that are shown; 0: all
	backlog        int           // events that each log begins with
	live           int           // events of the present to wait for in each run
	down           time.Duration // between the runs
}

// host is the program that loads the plugin.
type host struct {
	kind flbtest.Kind
	path string
	name string // for people
}

// run shows everything once. Whatever way it ends, nothing of it is left.
func (d demo) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "duo_in-demo-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(dir)) }()
	h, err := findHost(ctx, dir)
	if err != nil {
		return err
	}
	sim, err := startSim(ctx, d.duoctl, dir, d.backlog)
	if err != nil {
		return err
	}
	defer sim.stop()
	d.say("1. A simulated Duo at https://%s: %d logs of %d events each, and one more a second in each.", sim.host, len(logs), d.backlog)
	d.say("   duo_in runs in %s.", h.name)
	v := newViewer(d, flbtest.NewReader(h.kind, dir, tag), sim.since)
	spec := d.spec(sim, dir)

	d.say("\n2. The first run: the backlog, and then what happens now. Each line is a record, cut short.")
	err = d.session(ctx, h, spec, func(p *flbtest.Process) error {
		return v.follow(ctx, p, func() bool { return v.total() >= d.backlog*len(logs) && v.live >= d.live })
	})
	if err != nil {
		return err
	}
	if err := v.read(); err != nil { // what came with the stop
		return err
	}
	before := v.total()
	d.say("   Stopped cleanly after %d events. Duo goes on.", before)
	if err := pause(ctx, d.down); err != nil {
		return err
	}

	d.say("\n3. The second run goes on where the first one was: it reads the last minutes again (the option overlap), for")
	d.say("   what Duo has filed late, and drops what was delivered.")
	var filed []event
	v.live = 0
	err = d.session(ctx, h, spec, func(p *flbtest.Process) error {
		err := v.follow(ctx, p, func() bool { return v.live >= d.live })
		if err != nil {
			return err
		}
		if filed, err = sim.filed(ctx); err != nil {
			return err
		}
		err = v.follow(ctx, p, func() bool { return len(v.missing(filed)) == 0 })
		if errors.Is(err, errTimeout) {
			d.say("   %v", err)
			return nil // the figures say what it means
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := v.read(); err != nil {
		return err
	}
	return d.conclude(v, before, filed)
}

// conclude compares, says the figures, and fails if one is not as promised.
func (d demo) conclude(v *viewer, before int, filed []event) error {
	missing, twice := len(v.missing(filed)), v.twice()
	d.say("\n4. What Duo has filed, asked directly, against what was delivered, event by event.")
	d.say("   filed       %6d", len(filed))
	d.say("   delivered   %6d   %d by the first run, %d by the second", v.total(), before, v.total()-before)
	d.say("   missing     %6d", missing)
	d.say("   twice       %6d", twice)
	if newer := v.total() - twice - len(filed) + missing; newer > 0 {
		d.say("   newer       %6d   delivered, and filed after Duo was asked", newer)
	}
	if twice > 0 {
		d.say("   What was handed over in the last half second before a stop may come twice, with the same event_id.")
	}
	if missing > 0 {
		return errIncomplete
	}
	return nil
}

// session runs the host while what is shown lasts, and then stops it cleanly.
func (d demo) session(ctx context.Context, h host, spec flbtest.Spec, show func(*flbtest.Process) error) error {
	p, err := flbtest.Start(h.kind, h.path, spec)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.WaitReady(ctx); err != nil {
		return err
	}
	for _, line := range begins.FindAllStringSubmatch(p.Log(), -1) {
		d.say("   log: %s", line[1])
	}
	shown := show(p)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err = p.Stop(ctx)
	return cmp.Or(shown, err)
}

// begins matches what the plugin logs about where a log begins.
var begins = regexp.MustCompile(`(?m)\[input:duo:[^]]*\] (\w+: (?:no checkpoint yet|going on at).*)$`)

func (d demo) spec(s *sim, dir string) flbtest.Spec {
	return flbtest.Spec{
		Plugin: d.plugin, Dir: dir,
		Inputs: []flbtest.Input{{Tag: tag, Options: []flbtest.Option{
			{Key: "api_host", Value: s.host},
			{Key: "integration_key", Value: s.integrationKey},
			{Key: "secret_key", Value: s.secretKey},
			{Key: "ca_file", Value: s.caFile},
			{Key: "checkpoint_dir", Value: filepath.Join(dir, "checkpoints")},
			// Far below what Duo asks for, so that there is something to see.
			{Key: "poll_interval", Value: "1s"},
			{Key: "delay", Value: simDelay.String()},
		}}},
	}
}

var fluentBitVersion = regexp.MustCompile(`v(\d+)\.\S+`)

// findHost takes a real Fluent Bit where there is one that this can read the
// output of, and builds the C host where there is none.
func findHost(ctx context.Context, dir string) (host, error) {
	why := "no fluent-bit is on PATH and $FLUENT_BIT is not set"
	if named := os.Getenv("FLUENT_BIT"); named != "" {
		why = "$FLUENT_BIT names " + named + ", which is not there or cannot be run"
	}
	if path, ok := flbtest.FluentBitPath(); ok {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		version := fluentBitVersion.FindSubmatch(out)
		switch {
		case err != nil:
			why = fmt.Sprintf("%s --version: %v", path, err)
		case version == nil || len(version[1]) == 1 && version[1][0] < '4':
			why = path + " is older than 4.0"
		default:
			return host{flbtest.FluentBit, path, fmt.Sprintf("Fluent Bit %s (%s)", version[0], path)}, nil
		}
	}
	// Not to be cut short: a compiler that is killed leaves files behind.
	path, err := flbtest.BuildCHost(context.WithoutCancel(ctx), dir)
	return host{flbtest.CHost, path, "a small C program that loads it as Fluent Bit does, since " + why}, err
}

func (d demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// pause waits, unless the context ends first.
func pause(ctx context.Context, t time.Duration) error {
	select {
	case <-time.After(t):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
