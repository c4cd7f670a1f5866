package duotest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	defaultLimit = 100
	maxLimit     = 1000

	// Times below this are not milliseconds (that would be 1973) but seconds; times above the other are microseconds.
	earliestMillis = 100_000_000_000
	latestMillis   = 100_000_000_000_000
)

// window is what a call asks for.
type window struct {
	mintime, maxtime int64 // milliseconds, both inclusive
	limit            int
	descending       bool
	after            *cursor // nil: the window's beginning
}

// parseWindow reads a call's parameters; a refusal says in message_detail which is wrong.
func parseWindow(values url.Values, now time.Time) (window, *answer) {
	w, err := readWindow(values, now)
	if err != nil {
		return window{}, failure(http.StatusBadRequest, 40002, "Invalid request parameters", err.Error())
	}
	return w, nil
}

func readWindow(values url.Values, now time.Time) (w window, err error) {
	for name, v := range values {
		if len(v) != 1 {
			return w, fmt.Errorf("%s: given %d times", name, len(v))
		}
	}
	if w.mintime, err = readMillis(values, "mintime"); err != nil {
		return w, err
	}
	if w.maxtime, err = readMillis(values, "maxtime"); err != nil {
		return w, err
	}
	if w.mintime >= w.maxtime {
		return w, fmt.Errorf("mintime %d: must be less than maxtime %d", w.mintime, w.maxtime)
	}
	if w.mintime < now.Add(-Retention).UnixMilli() {
		return w, fmt.Errorf("mintime %d: must be within the last 180 days", w.mintime)
	}
	w.limit = defaultLimit
	if values.Has("limit") {
		w.limit, err = strconv.Atoi(values.Get("limit"))
		if err != nil || w.limit < 1 || w.limit > maxLimit {
			return w, fmt.Errorf("limit %q: must be from 1 to %d", values.Get("limit"), maxLimit)
		}
	}
	switch order := values.Get("sort"); {
	case order == "ts:desc" || !values.Has("sort"):
		w.descending = true
	case order != "ts:asc":
		return w, fmt.Errorf("sort %q: must be ts:asc or ts:desc", order)
	}
	if values.Has("next_offset") {
		after, err := parseCursor(values.Get("next_offset"))
		if err != nil {
			return w, err
		}
		w.after = &after
	}
	return w, nil
}

func readMillis(values url.Values, name string) (int64, error) {
	if !values.Has(name) {
		return 0, fmt.Errorf("%s: missing", name)
	}
	ms, err := strconv.ParseInt(values.Get(name), 10, 64)
	if err != nil || ms < earliestMillis || ms > latestMillis {
		return 0, fmt.Errorf("%s %q: must be a time in milliseconds", name, values.Get(name))
	}
	return ms, nil
}

// offsetEnds are the ways in which next_offset of an empty page has been seen.
var offsetEnds = map[string]any{"null": nil, "empty": "", "list": list{}, "missing": absent{}}

// page is what a call gets.
type page struct {
	records []entry
	last    *cursor // the place of the last record, nil without one
	total   int     // records of the whole window
}

// body writes the page as Duo does. The records' bytes are copied, not read.
func (p page) body(k kind, config Config) []byte {
	metadata := object{{"next_offset", offsetEnds[config.OffsetEnd]}, {"total_objects", p.total}}
	if p.last != nil {
		metadata.set("next_offset", k.cursor(*p.last))
	}
	if config.TotalAsObject {
		metadata.set("total_objects", object{{"relation", "eq"}, {"value", p.total}})
	}
	size := 256
	for _, e := range p.records {
		size += len(e.raw) + 2
	}
	body := append(make([]byte, 0, size), `{"response": {"`+k.list+`": [`...)
	for i, e := range p.records {
		if i > 0 {
			body = append(body, ", "...)
		}
		body = append(body, e.raw...)
	}
	body = append(body, ']')
	if config.MetadataBeside {
		body = append(body, '}')
	}
	body = appendJSON(append(body, `, "metadata": `...), metadata)
	if !config.MetadataBeside {
		body = append(body, '}')
	}
	return append(body, `, "stat": "OK"}`...)
}
