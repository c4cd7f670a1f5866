package duotest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// Times below this are not milliseconds (that would be 1973) but seconds; times above the other are microseconds.
	earliestMillis = 100_000_000_000
	latestMillis   = 100_000_000_000_000
)

// window is what a call asks for.
type window struct {
	mintime, maxtime int64 // milliseconds, both inclusive; nothing behind maxtime is hidden by the delay
	limit            int
	descending       bool    // pages begin at the window's end
	reversed         bool    // a page's records stand in the other order
	after            *cursor // nil: the window's beginning
	skip             int     // records that earlier pages held
}

// parseWindow reads a call's parameters, those that the log does not know aside; a refusal says in message_detail which is
// wrong.
func (k kind) parseWindow(values url.Values, now time.Time, config Config) (w window, refused *answer) {
	var err error
	for name, v := range values {
		if len(v) != 1 {
			err = fmt.Errorf("%s: given %d times", name, len(v))
		}
	}
	if err == nil {
		w, err = k.window(values, now, config)
	}
	if err != nil {
		return window{}, failure(http.StatusBadRequest, 40002, "Invalid request parameters", err.Error())
	}
	return w, nil
}

// searchWindow reads the parameters of the v2 logs.
func searchWindow(values url.Values, now time.Time, config Config) (w window, err error) {
	if w, err = readBounds(values, now, config); err != nil {
		return w, err
	}
	if w.limit, err = readLimit(values, 100, 1000, config); err != nil {
		return w, err
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

// offsetWindow reads the parameters of trust_monitor, which knows no order and counts positions.
func offsetWindow(values url.Values, now time.Time, config Config) (w window, err error) {
	if w, err = readBounds(values, now, config); err != nil {
		return w, err
	}
	if w.limit, err = readLimit(values, 50, 200, config); err != nil {
		return w, err
	}
	w.descending = config.TrustNewest
	if values.Has("offset") {
		text, opaque := strings.CutPrefix(values.Get("offset"), offsetPrefix)
		w.skip, err = strconv.Atoi(text)
		if err != nil || w.skip < 0 || opaque != config.TrustText {
			return w, fmt.Errorf("offset %q: must be a next_offset of this log", values.Get("offset"))
		}
	}
	return w, nil
}

// sinceWindow reads the one parameter of the v1 logs, seconds from which on the earliest records are shown. Without it
// they are the earliest that are kept. Duo's own client sends mintime=0 unless told otherwise; a client of the present has
// no reason to, so that like any time before the last 180 days is refused.
func sinceWindow(values url.Values, now time.Time, config Config) (w window, err error) {
	earliest := now.Add(-Retention).UnixMilli()
	w = window{mintime: earliest, maxtime: now.UnixMilli(), limit: config.V1Page, reversed: config.V1Newest}
	if !values.Has("mintime") {
		return w, nil
	}
	text := values.Get("mintime")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 || seconds >= earliestMillis {
		return w, fmt.Errorf("mintime %q: must be a time in seconds", text)
	}
	if w.mintime = seconds * 1000; w.mintime < earliest {
		return w, fmt.Errorf("mintime %s: must be within the last 180 days", text)
	}
	if config.V1Exclusive {
		w.mintime += 1000
	}
	return w, nil
}

// readBounds reads mintime and maxtime in milliseconds, and keeps what is younger than the delay out of the window.
func readBounds(values url.Values, now time.Time, config Config) (w window, err error) {
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
	w.maxtime = min(w.maxtime, now.Add(-max(config.Delay, 0)).UnixMilli())
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

// readLimit returns how many records the page may hold.
func readLimit(values url.Values, limit, most int, config Config) (int, error) {
	if values.Has("limit") {
		var err error
		limit, err = strconv.Atoi(values.Get("limit"))
		if err != nil || limit < 1 || limit > most {
			return 0, fmt.Errorf("limit %q: must be from 1 to %d", values.Get("limit"), most)
		}
	}
	if config.PageCap > 0 {
		limit = min(limit, config.PageCap)
	}
	return limit, nil
}

// page is what a call gets.
type page struct {
	records  []entry
	last     *cursor // the place of the last record, nil without one
	position int     // records of the window up to the last one
	total    int     // records of the whole window
}

// offsetEnds are the ways in which next_offset has been seen where nothing follows.
var offsetEnds = map[string]any{"null": nil, "empty": "", "list": list{}, "missing": absent{}}

// offsetEnd is next_offset where nothing follows, as the configuration has it or else as the log is known to write it.
func offsetEnd(config Config, known string) any { return offsetEnds[cmp.Or(config.OffsetEnd, known)] }

// searchAfter returns what writes the metadata of a v2 log: the place of the last record, and the window's total.
func searchAfter(write func(cursor) any) func(page, Config) object {
	return func(p page, config Config) object {
		metadata := object{{"next_offset", offsetEnd(config, "null")}, {"total_objects", p.total}}
		if p.last != nil {
			metadata.set("next_offset", write(*p.last))
		}
		if config.TotalAsObject {
			metadata.set("total_objects", object{{"relation", "eq"}, {"value", p.total}})
		}
		return metadata
	}
}

func pairCursor(c cursor) any { return list{strconv.FormatInt(c.ms, 10), c.tie()} }
func textCursor(c cursor) any { return c.String() }

// offsetPrefix begins an offset that is not to be read as a number.
const offsetPrefix = "position:"

// positional writes the metadata of trust_monitor: the position at which the next page begins, if there is one.
func positional(p page, config Config) object {
	metadata := object{{"next_offset", offsetEnd(config, "missing")}}
	switch {
	case p.position >= p.total:
	case config.TrustText:
		metadata.set("next_offset", offsetPrefix+strconv.Itoa(p.position))
	default:
		metadata.set("next_offset", p.position)
	}
	return metadata
}

// body writes the page as Duo does. The records' bytes are copied, not read.
func (p page) body(k kind, config Config) []byte {
	size := 256
	for _, e := range p.records {
		size += len(e.raw) + 2
	}
	body := append(make([]byte, 0, size), `{"response": `...)
	if k.list != "" {
		body = append(body, `{"`+k.list+`": `...)
	}
	body = append(body, '[')
	for i, e := range p.records {
		if i > 0 {
			body = append(body, ", "...)
		}
		body = append(body, e.raw...)
	}
	body = append(body, ']')
	if k.list != "" {
		metadata, closed := appendJSON([]byte(`, "metadata": `), k.metadata(p, config)), []byte("}")
		if config.MetadataBeside {
			metadata, closed = closed, metadata
		}
		body = append(append(body, metadata...), closed...)
	}
	return append(body, `, "stat": "OK"}`...)
}
