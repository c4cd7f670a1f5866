package duo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Record is one event as Duo sent it, and what is known about it.
type Record struct {
	Raw     []byte    // JSON, not changed in any way
	Time    time.Time // Duo's own; where it has none that can be read, that of the record before it, else now
	EventID string    // stable across reads: Duo's id and a hash of the content
	id      string    // Duo's id, may be empty, may repeat
	timed   bool      // Time was read from the record, so it may move a cursor
	exact   bool      // from the first of the log's keys for it
	content uint64    // hash of the content
}

// lenient reads whatever Duo may send: names twice, broken UTF-8.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// newRecord reads what is needed of a record. It takes anything: what cannot
// be read stays empty.
func newRecord(l Log, raw []byte) Record {
	r := Record{Raw: raw, content: contentHash(raw)}
	dec := jsontext.NewDecoder(bytes.NewReader(raw), lenient)
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return r
	}
	best := len(l.Times)
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return r
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return r
		}
		if key == l.ID {
			r.id = scalar(value)
		}
		for i, k := range l.Times[:best] {
			if key != k {
				continue
			}
			if t, ok := parseTime(scalar(value)); ok {
				r.Time, r.timed, r.exact, best = t, true, i == 0, i
			}
			break
		}
	}
	return r
}

// scalar returns a string's or a number's text, and nothing of other values.
func scalar(v jsontext.Value) string {
	switch v.Kind() {
	case '"':
		b, err := jsontext.AppendUnquote(nil, v)
		if err != nil && len(b) == 0 {
			return ""
		}
		return string(b)
	case '0':
		return string(v)
	}
	return ""
}

// eventID is Duo's id with the hash of the content, since ids repeat across
// different records. nth counts records that are equal in every byte, from 1.
func (r Record) eventID(nth int) string {
	s := fmt.Sprintf("%016x", r.content)
	if r.id != "" {
		s = r.id + "-" + s
	}
	if nth > 1 {
		s += "-" + strconv.Itoa(nth)
	}
	return s
}

// maxSorted is how large a record, in bytes, may be for its keys to be sorted: a
// hundred times the largest that was seen.
const maxSorted = 1 << 20

// contentHash is the first 64 bits of the SHA-256 of the record with its keys
// sorted at every level, those of more than 1 MiB in Duo's order, and no white
// space, so that it is the same on every read. It is part of what is stored and
// delivered: changing it makes every event look new.
func contentHash(raw []byte) uint64 {
	v := jsontext.Value(bytes.Clone(raw))
	// What cannot be sorted is hashed as it came. Sorting takes fifty times the
	// memory of what consists of nothing but keys.
	_ = v.Format(lenient, jsontext.ReorderRawObjects(len(raw) <= maxSorted))
	sum := sha256.Sum256(v)
	return binary.BigEndian.Uint64(sum[:8])
}

// layouts are the forms of time seen in Duo's records, white space removed.
var layouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00",
	"2006-01-02T15:04:05.999999999Z0700",
	"2006-01-02T15:04:05.999999999",
	"2006-01-0215:04:05.999999999Z07:00",
	"2006-01-0215:04:05.999999999",
}

// parseTime reads ISO 8601 with or without a fraction, a zone or stray blanks
// (UTC if it has no zone), and Unix time in seconds or milliseconds, as a
// number or a string. A leap second, which Unix time does not have, is the one
// behind it.
func parseTime(s string) (time.Time, bool) {
	s = strings.Join(strings.Fields(s), "")
	usual := strings.Replace(s, ":59:60", ":59:59", 1)
	for _, l := range layouts {
		if t, err := time.Parse(l, usual); err == nil {
			if usual != s {
				t = t.Add(time.Second)
			}
			return plausible(t)
		}
	}
	// Seconds stay below 1e11 until the year 5138. A float does not hold all
	// milliseconds, so that integers are read as such.
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n <= 1e14 {
		if n >= 1e11 {
			return plausible(time.UnixMilli(n))
		}
		return plausible(time.Unix(n, 0))
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n <= 1e14) {
		return time.Time{}, false
	}
	if n >= 1e11 {
		n /= 1000
	}
	return plausible(time.UnixMicro(int64(n * 1e6)))
}

// plausible refuses times that Duo cannot mean: one of them would move a
// cursor beyond all events or sort before all of them.
func plausible(t time.Time) (time.Time, bool) {
	return t.UTC(), t.Year() >= 1990 && t.Year() < 2100
}
