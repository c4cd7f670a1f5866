package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"
)

const rewindHelp = `usage: duoctl checkpoint [-dir folder] rewind [flags] time

Sets the chosen logs back to a time: RFC 3339, a date (its first moment, UTC), or a duration back from now (90m, 30d). What
was delivered since then comes again, with the same event_id; Duo keeps 180 days. All are set, or, if anything is in the
way, none. A time within what is read again at each poll (overlap) sets the log back to where that begins: an event that Duo
files late is not skipped. A time ahead of where a log is would skip events for good, so that it takes -force.
`

// rewind is what the command line asks for.
type rewind struct {
	host, account, log string // "" or, of the log, all: any
	to                 string
	force              bool
}

func parseRewind(args []string, stdout io.Writer) (r rewind, err error) {
	f := flag.NewFlagSet("rewind", flag.ContinueOnError)
	f.StringVar(&r.host, "host", "", "only the logs of this API `host`")
	f.StringVar(&r.account, "account", "", "only the logs of the account with this `id`; self is the keys' own")
	f.StringVar(&r.log, "log", "all", "only this `log`")
	f.BoolVar(&r.force, "force", false, "also forward: skip events that were not delivered")
	if err := parseFlags(f, args, stdout, rewindHelp); err != nil {
		return r, err
	}
	if f.NArg() != 1 {
		return r, usageError{fmt.Errorf("%d arguments behind the flags of rewind: want one, a time; flags stand before it", f.NArg())}
	}
	if r.log != "all" {
		l, err := duo.LookupLog(r.log)
		if err != nil {
			return r, usageError{fmt.Errorf("-log: %w, or all", err)}
		}
		r.log = l.Name // it may be an alias
	}
	r.to = f.Arg(0)
	if _, err := parseTime(r.to, time.Now()); err != nil {
		return r, usageError{err}
	}
	return r, nil
}

// parseTime reads RFC 3339, a date, or a duration back from now.
func parseTime(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			if t.After(now) {
				return t, fmt.Errorf("time %q: in the future; want one that is past", text)
			}
			return t, nil
		}
	}
	back, err := parseBack(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: want RFC 3339 (2026-02-13T18:00:00Z), a date (2026-02-13), or a duration back (90m, 30d)", text)
	}
	return now.Add(-back), nil
}

// parseBack reads Go's durations, and days. At most 10 years: what is older than Duo keeps is cut short elsewhere.
func parseBack(text string) (time.Duration, error) {
	const most = 3650 * 24 * time.Hour
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		if math.Abs(n) > 3650 || math.IsNaN(n) {
			return 0, errors.New("out of range")
		}
		d = time.Duration(n * 24 * float64(time.Hour))
	}
	if err == nil && (d < 0 || d > most) {
		err = errors.New("out of range")
	}
	return d, err
}

// chosen are the flags that choose streams, as they were given.
func (r rewind) chosen() string {
	var flags []string
	for _, f := range []struct{ name, value string }{{"-host", r.host}, {"-account", r.account}, {"-log", r.log}} {
		if f.value != "" {
			flags = append(flags, fmt.Sprintf("%s %q", f.name, f.value))
		}
	}
	return strings.Join(flags, " ")
}

func (r rewind) wants(st checkpoint.Stream) bool {
	return (r.host == "" || strings.EqualFold(r.host, st.Host)) && (r.account == "" || r.account == st.Account) &&
		(r.log == "all" || strings.EqualFold(r.log, st.Log))
}

// run sets all wanted cursors, or none.
func (r rewind) run(dir string, now time.Time, stdout io.Writer) error {
	entries, err := list(dir)
	if err != nil {
		return err // what cannot be listed may be meant
	}
	var streams []checkpoint.Stream
	for _, e := range entries {
		if r.wants(e.Stream) {
			streams = append(streams, e.Stream)
		}
	}
	if len(streams) == 0 {
		return fmt.Errorf("%s: none of the %d checkpoints in %s; duoctl checkpoint shows them", r.chosen(), len(entries), dir)
	}
	to, err := parseTime(r.to, now)
	if err != nil {
		return err
	}
	held, err := hold(dir, streams)
	defer held.release()
	if err != nil {
		return err
	}
	set, err := r.check(held, duo.NewCursor(to, now), now)
	if err != nil {
		return err
	}
	// All are set before anything is printed: whoever reads that may have gone.
	for i, slot := range held.slots {
		if err := slot.Reset(set[i].to); err != nil {
			return fmt.Errorf("%w (%d of %d logs are set)", err, i, len(streams))
		}
	}
	kept := true
	for i, st := range streams {
		fmt.Fprintf(stdout, "%s: from %v to %v\n", st, set[i].at, set[i].to.From)
		kept = kept && set[i].to.From <= duo.ToMillis(to)
	}
	if !kept {
		fmt.Fprintf(stdout, "%v is as far back as Duo keeps its logs\n", duo.NewCursor(to, now).From)
	}
	return nil
}

// change is where a log is, and the cursor that it gets.
type change struct {
	at duo.Millis
	to duo.Cursor
}

// check returns what is to be set, and an error if a cursor cannot be used or would go forward.
func (r rewind) check(held *held, to duo.Cursor, now time.Time) (set []change, err error) {
	var problems []error
	for i, slot := range held.slots {
		var c duo.Cursor
		_, err := slot.Load(&c)
		ch := change{place(c), to}
		switch {
		case err != nil:
			problems = append(problems, err)
		case to.From <= ch.at:
			// What Duo still files late since then was not received yet.
			ch.to = duo.NewCursor(min(to.From, max(c.From, c.SeenSince)).Time(), now)
		case !r.force:
			problems = append(problems, fmt.Errorf("%s is at %v: %v is later, and events would be skipped for good; -force does it all the same",
				held.streams[i], ch.at, to.From))
		}
		set = append(set, ch)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: nothing was changed", err)
	}
	return set, nil
}
