package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	_ "time/tzdata" // -timezone works on a machine without zones, too

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/internal/durable"
)

const migrateHelp = `usage: duoctl migrate [flags] config.yml

Takes over from Duo Log Sync: writes, from its config.yml (version 1.0.0), a configuration of Fluent Bit with duo_in, and a
file with the keys for Fluent Bit's environment; and turns Duo Log Sync's checkpoints into duo_in's, so that nothing is
missed. Stop Duo Log Sync first, and run this as the user that Fluent Bit will run as. It asks Duo nothing, changes nothing
of Duo Log Sync's, and replaces no file unless -force is given.

Duo Log Sync has no overlap: events that Duo filed late, or that a broken connection swallowed, are behind its checkpoints.
So each log begins -overlap before its checkpoint; what was sent in that time comes twice.

It ends with status 1 if a checkpoint could not be used, having written all the rest; that log begins at since.

example:
  duoctl migrate -out /etc/duo_in -timezone America/New_York /etc/duologsync/config.yml
`

// migration is what the command line asks for.
type migration struct {
	config, out         string
	checkpointDir, from string
	zone                *time.Location
	overlap             time.Duration
	force               bool
}

func parseMigrate(args []string, stdout io.Writer) (m migration, err error) {
	f := flag.NewFlagSet("migrate", flag.ContinueOnError)
	f.StringVar(&m.out, "out", ".", "`folder` for "+confName+" and "+envName+", made if it is missing")
	f.StringVar(&m.checkpointDir, "checkpoint-dir", checkpoint.DefaultDir, "`folder` that becomes duo_in's checkpoint_dir")
	f.StringVar(&m.from, "from-checkpoints", "", "`folder` of Duo Log Sync's checkpoints (default the one that config.yml names, or /tmp)")
	zone := f.String("timezone", "Local", "`zone` of the machine that ran Duo Log Sync, such as America/New_York or UTC; Local is that of this one")
	f.DurationVar(&m.overlap, "overlap", 5*time.Minute, "`time` before its checkpoint at which a log begins")
	f.BoolVar(&m.force, "force", false, "replace files and checkpoints that are there")
	if err := parseFlags(f, args, stdout, migrateHelp); err != nil {
		return m, err
	}
	if f.NArg() != 1 {
		return m, usageError{fmt.Errorf("%d arguments behind the flags: want the config.yml of Duo Log Sync", f.NArg())}
	}
	m.config = f.Arg(0)
	if m.zone, err = time.LoadLocation(*zone); err != nil {
		return m, usageError{fmt.Errorf("-timezone %q: want a name such as Europe/Berlin or UTC, or Local", *zone)}
	}
	if m.overlap < 0 {
		return m, usageError{fmt.Errorf("-overlap %q: want 0 or more", m.overlap)}
	}
	if reason := unfit(m.checkpointDir); reason != "" || m.checkpointDir == "" {
		return m, usageError{fmt.Errorf("-checkpoint-dir %q: want a folder whose name can stand in a Fluent Bit configuration; %s", m.checkpointDir, reason)}
	}
	if m.checkpointDir, err = filepath.Abs(m.checkpointDir); err != nil {
		return m, usageError{fmt.Errorf("-checkpoint-dir: %w", err)}
	}
	return m, nil
}

func runMigrate(args []string, stdout, stderr io.Writer) error {
	m, err := parseMigrate(args, stdout)
	if err != nil {
		return err
	}
	return m.run(time.Now(), stdout, stderr)
}

// run looks at everything first, so that what is wrong is said before anything is written.
func (m migration) run(now time.Time, stdout, stderr io.Writer) error {
	c, err := m.read()
	if err != nil {
		return err
	}
	if m.from == "" {
		m.from = c.checkpointDir
	}
	old, err := readDLSCheckpoints(c, m.from, m.zone)
	if err != nil {
		return err
	}
	conf, env := filepath.Join(m.out, confName), filepath.Join(m.out, envName)
	if err := m.mayWrite(conf, env); err != nil {
		return err
	}
	for _, n := range c.notes {
		fmt.Fprintf(stderr, "note: %s\n", n)
	}
	// Both files are complete before a checkpoint is, so that what is in their way leaves no checkpoint in the way.
	keys, err := prepare(env, c.environment(), 0o600)
	if err != nil {
		return err
	}
	defer keys.Cleanup()
	text, err := prepare(conf, c.fluentBit(m.config, m.checkpointDir), 0o644)
	if err != nil {
		return err
	}
	defer text.Cleanup()
	if err := m.convert(old.found, now, stdout); err != nil {
		return err
	}
	if err := errors.Join(keys.CloseAtomicallyReplace(), text.CloseAtomicallyReplace()); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	fmt.Fprintf(stdout, "wrote %s, and %s with the keys, for its owner only\n", conf, env)
	for _, n := range old.notes {
		fmt.Fprintf(stderr, "note: %s: it begins at since, %s\n", n, c.since())
	}
	if len(old.broken) > 0 {
		return fmt.Errorf("%d checkpoints of Duo Log Sync cannot be used, and their logs begin at since, %s:\n  %s", len(old.broken), c.since(), strings.Join(old.broken, "\n  "))
	}
	return nil
}

// read reads the configuration of Duo Log Sync.
func (m migration) read() (dlsConfig, error) {
	const most = 1 << 20
	f, err := os.Open(m.config)
	if err != nil {
		return dlsConfig{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return dlsConfig{}, err
	}
	if len(data) > most {
		return dlsConfig{}, fmt.Errorf("%s: more than %d bytes: this is no configuration of Duo Log Sync", m.config, most)
	}
	return readDLSConfig(m.config, data)
}

// mayWrite refuses to replace files.
func (m migration) mayWrite(files ...string) error {
	for _, name := range files {
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("-out: %w; nothing was changed", err)
		case info.IsDir():
			return fmt.Errorf("%s is a folder: give another one with -out; nothing was changed", name)
		case !m.force:
			return fmt.Errorf("%s is there already: give another folder with -out, or -force to replace it; nothing was changed", name)
		}
	}
	return nil
}

// prepare makes the folder of a file, and in it what is to become the file.
func prepare(name, text string, mode os.FileMode) (*durable.File, error) {
	folder := filepath.Dir(name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make -out: %w; nothing was changed", err)
	}
	f, err := durable.Create(name, mode)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w; nothing was changed", name, err)
	}
	if _, err := io.WriteString(f, text); err != nil {
		return nil, fmt.Errorf("write %s: %w; nothing was changed", name, errors.Join(err, f.Cleanup()))
	}
	return f, nil
}

// convert writes the checkpoints of duo_in: all of them, or none if one is in the way.
func (m migration) convert(found []conversion, now time.Time, stdout io.Writer) error {
	if len(found) == 0 {
		return nil
	}
	var streams []checkpoint.Stream
	for _, f := range found {
		streams = append(streams, f.stream)
	}
	held, err := hold(m.checkpointDir, streams)
	defer held.release()
	if err != nil {
		return err
	}
	for i, slot := range held.slots {
		origin, err := slot.Load(&duo.Cursor{})
		if err != nil {
			return err
		}
		if origin.Generation != checkpoint.Fresh && !m.force {
			return fmt.Errorf("%s: duo_in has a checkpoint of %v already, saved %s: -force replaces it; nothing was changed",
				m.checkpointDir, streams[i], origin.Saved.Format(time.RFC3339))
		}
	}
	for i, slot := range held.slots {
		cursor := duo.NewCursor(found[i].at.Add(-m.overlap), now)
		if err := slot.Reset(cursor); err != nil {
			return fmt.Errorf("%w (%d of %d checkpoints are written; run this again with -force)", err, i, len(found))
		}
		fmt.Fprintf(stdout, "%v: begins at %v; %s\n", streams[i], cursor.From, m.why(found[i]))
	}
	return nil
}

// why explains where a log begins.
func (m migration) why(f conversion) string {
	text := fmt.Sprintf("Duo Log Sync came to %v", duo.ToMillis(f.at))
	if f.local {
		text += ", if its machine's time zone was " + zoneName(m.zone)
	}
	return text
}

// zoneName says what Local is.
func zoneName(zone *time.Location) string {
	if zone != time.Local {
		return zone.String()
	}
	return "this machine's, " + time.Now().Format("MST -07:00")
}
