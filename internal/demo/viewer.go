package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"duo_in/internal/flbtest"
)

const (
	showBacklog = 2           // events of a log's backlog that are shown
	waitFor     = time.Minute // for what should take seconds
)

var errTimeout = errors.New("what was waited for has not come")

// event is the content of one event: its log and its JSON with sorted keys,
// without the fields that duo_in adds.
type event string

// newEvent reads a record as Duo serves it or as duo_in delivers it.
func newEvent(log string, record []byte) (event, error) {
	var fields map[string]any
	if err := json.Unmarshal(record, &fields); err != nil {
		return "", fmt.Errorf("record %.200s: %w", record, err)
	}
	maps.DeleteFunc(fields, func(key string, _ any) bool { return key == "eventtype" || key == "host" || key == "event_id" })
	sorted, err := json.Marshal(fields)
	return event(log + " " + string(sorted)), err
}

// viewer shows what is delivered, a sample of it, and counts all of it.
type viewer struct {
	demo
	reader *flbtest.Reader
	since  time.Time // what is older is backlog

	live      int // delivered events of the present
	delivered map[event]int
	ids       map[string]int // by event_id
	shown     map[string]int // of the backlog, by log
	skipped   int            // since something was shown
}

func newViewer(d demo, r *flbtest.Reader, since time.Time) *viewer {
	return &viewer{demo: d, reader: r, since: since, delivered: map[event]int{}, ids: map[string]int{}, shown: map[string]int{}}
}

// follow shows what comes until there is enough of it.
func (v *viewer) follow(ctx context.Context, p *flbtest.Process, enough func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, waitFor, errTimeout)
	defer cancel()
	for {
		if err := v.read(); err != nil {
			return err
		}
		if enough() {
			return nil
		}
		// Wait returns early only if the host has ended.
		soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		exit, err := p.Wait(soon)
		cancel()
		switch {
		case err == nil:
			return fmt.Errorf("the host has ended with status %d:\n%s", exit, p.Log())
		case ctx.Err() != nil:
			log := p.Log()
			return fmt.Errorf("after %d events: %w; the host's log ends:\n%s", v.total(), context.Cause(ctx), log[max(0, len(log)-2<<10):])
		}
	}
}

// read takes what was delivered since the last call.
func (v *viewer) read() error {
	records, err := v.reader.Next()
	if err != nil {
		return err
	}
	for _, r := range records {
		log := r.String("eventtype")
		e, err := newEvent(log, r.JSON)
		if err != nil {
			return err
		}
		v.delivered[e]++
		v.ids[r.String("event_id")]++
		if live := r.Time.After(v.since); live {
			v.live++
			v.show(log, r)
		} else if v.shown[log] < showBacklog {
			v.shown[log]++
			v.show(log, r)
		} else {
			v.skipped++
		}
	}
	return nil
}

func (v *viewer) show(log string, r flbtest.Record) {
	if v.skipped > 0 {
		v.say("          … %d more of the backlog", v.skipped)
		v.skipped = 0
	}
	text := []rune(string(r.JSON))
	if v.width > 0 && len(text) > v.width {
		text = append(text[:v.width-1], '…')
	}
	v.say("   %6d %-14s %s", v.total(), log, string(text))
}

func (v *viewer) total() int {
	n := 0
	for _, count := range v.ids {
		n += count
	}
	return n
}

// twice is how many deliveries were of an event_id that had been delivered.
func (v *viewer) twice() int { return v.total() - len(v.ids) }

// missing is what was filed and not delivered; of equal events, which Duo can
// have, as many as were filed count.
func (v *viewer) missing(filed []event) []event {
	left := maps.Clone(v.delivered)
	var out []event
	for _, e := range filed {
		if left[e]--; left[e] < 0 {
			out = append(out, e)
		}
	}
	return out
}
