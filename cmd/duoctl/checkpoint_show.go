package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"
)

// place is how far a log was read: all before it was received.
func place(c duo.Cursor) duo.Millis { return max(c.Checked, c.Last, c.From) }

// generation is one of a checkpoint's two files, as it is shown.
type generation struct {
	Error string `json:"error,omitempty"` // why it cannot be used; then the rest is missing

	Saved      *time.Time `json:"saved_at,omitempty"`
	At         duo.Millis `json:"at"`
	From       duo.Millis `json:"window_from"`
	Until      duo.Millis `json:"window_until"` // null: no window is open
	Read       int        `json:"window_records"`
	Remembered int        `json:"remembered"` // records that would be known if they came again
	fresh      bool       // nothing was read yet
}

// shown is one checkpoint as it is shown.
type shown struct {
	Host     string      `json:"host"`
	Account  string      `json:"account"`
	Log      string      `json:"log"`
	File     string      `json:"file"`
	Behind   *float64    `json:"behind_seconds"` // null: the current generation cannot be used
	Current  generation  `json:"current"`
	Previous *generation `json:"previous"` // null: there is none
}

// look reads both generations of a checkpoint.
func look(e checkpoint.Entry, now time.Time) shown {
	s := shown{Host: e.Stream.Host, Account: e.Stream.Account, Log: e.Stream.Log, File: e.Path}
	s.Current, _ = readGeneration(e, checkpoint.Current)
	if s.Current.Error == "" {
		behind := now.Sub(s.Current.At.Time()).Seconds()
		s.Behind = &behind
	}
	if g, found := readGeneration(e, checkpoint.Previous); found {
		s.Previous = &g
	}
	return s
}

func readGeneration(e checkpoint.Entry, which checkpoint.Generation) (g generation, found bool) {
	var c duo.Cursor
	saved, err := e.Read(which, &c)
	if err != nil {
		g.Error = err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			g.Error = "missing"
		}
		return g, !errors.Is(err, fs.ErrNotExist)
	}
	return generation{
		Saved: &saved, At: place(c), From: c.From, Until: c.Until, Read: c.Read, Remembered: len(c.Seen),
		fresh: c.Until == 0 && c.Checked == c.From && len(c.Seen) == 0,
	}, true
}

// showCheckpoints prints every cursor. Its error counts those that cannot be used.
func showCheckpoints(dir string, asJSON bool, now time.Time, stdout io.Writer) error {
	entries, err := list(dir)
	if len(entries) == 0 {
		return err
	}
	broken := 0
	all := make([]shown, len(entries))
	for i, e := range entries {
		all[i] = look(e, now)
		if all[i].Current.Error != "" || all[i].Previous != nil && all[i].Previous.Error != "" {
			broken++
		}
	}
	if asJSON {
		lines := json.NewEncoder(stdout)
		lines.SetIndent("", "  ")
		lines.SetEscapeHTML(false)
		err = errors.Join(err, lines.Encode(all))
	} else {
		for _, s := range all {
			fmt.Fprint(stdout, s.words(now))
		}
	}
	if broken > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d checkpoints have a file that cannot be used", broken, len(all)))
	}
	return err
}

// words describes a checkpoint in a few lines.
func (s shown) words(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %s\n", s.Host, accountWords(s.Account), s.Log)
	if s.Current.Error != "" {
		fmt.Fprintf(&b, "    CANNOT BE USED: %s: %s\n", s.File, s.Current.Error)
	} else {
		fmt.Fprintf(&b, "    %s, %s\n", s.Current.words(), behindWords(now.Sub(s.Current.At.Time())))
		fmt.Fprintf(&b, "    saved %s; records remembered: %d\n", s.Current.savedWords(now), s.Current.Remembered)
	}
	switch p := s.Previous; {
	case p == nil:
		fmt.Fprintf(&b, "    no generation before it\n")
	case p.Error != "":
		fmt.Fprintf(&b, "    the generation before it CANNOT BE USED: %s\n", p.Error)
	default:
		fmt.Fprintf(&b, "    the generation before it: %s, saved %s\n", p.words(), p.savedWords(now))
	}
	return b.String()
}

// words says where a cursor is.
func (g generation) words() string {
	switch {
	case g.Until != 0:
		return fmt.Sprintf("at %v, within the window from %v to %v, records of it read: %d", g.At, g.From, g.Until, g.Read)
	case g.fresh:
		return fmt.Sprintf("to begin at %v", g.At)
	}
	return fmt.Sprintf("read to its end at %v", g.At)
}

func (g generation) savedWords(now time.Time) string {
	return fmt.Sprintf("%v, %s ago", duo.ToMillis(*g.Saved), roundAge(now.Sub(*g.Saved)))
}

func accountWords(account string) string {
	if account == "self" {
		return "the keys' own account"
	}
	return "account " + account
}

func behindWords(d time.Duration) string {
	if d < 0 {
		return roundAge(-d) + " AHEAD of this machine's clock"
	}
	return roundAge(d) + " behind now"
}

// roundAge writes a duration with the two units that matter, such as 3d4h, 2h5m, 1m30s or 12s.
func roundAge(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	days, rest := d/(24*time.Hour), d%(24*time.Hour)
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, rest/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}
