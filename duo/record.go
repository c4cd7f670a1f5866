package duo

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"duo_in/internal/scan"
)

// Record is one event as Duo sent it, and what is known about it.
type Record struct {
	Raw     []byte    // JSON, not changed in any way; a part of its page, see [Cursor.Advance]
	Time    time.Time // Duo's own; where it has none that can be read, that of the record before it, else now
	EventID string    // stable across reads: Duo's id and a hash of the content
	id      string    // Duo's id, may be empty, may repeat
	timed   bool      // Time was read from the record, so it may move a cursor
	exact   bool      // from the first of the log's keys for it
	content uint64    // hash of the content
}

// lenient reads whatever Duo may send: names twice, broken UTF-8.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// reader reads records out of a page, one after the other, and reuses what that
// takes.
type reader struct {
	log  Log
	text canonical
}

// read passes the record that comes next, and reads what is needed of it: where
// that cannot be read it stays empty. Raw is part of the page.
func (rd *reader) read(in *scan.Scanner) (r Record) {
	start := in.Pos()
	rd.text.reset()
	if in.Kind() == scan.Object {
		rd.object(in, &r)
	} else {
		rd.text.value(in)
	}
	if r.Raw = in.Since(start); r.Raw != nil {
		r.content = rd.text.hash(r.Raw)
	}
	return r
}

func (rd *reader) object(in *scan.Scanner, r *Record) {
	best := len(rd.log.Times)
	o := rd.text.open()
	for more := in.Enter(); more; more = in.Next(scan.Object) {
		key := rd.text.name(in, &o)
		start, plain := in.Pos(), in.Plain()
		rd.text.value(in)
		rd.text.comma()
		value := jsontext.Value(in.Since(start))
		if value == nil {
			return
		}
		name := unquoted(key, plain)
		if string(name) == rd.log.ID {
			r.id = valueText(in, value)
		}
		for i, k := range rd.log.Times[:best] {
			if string(name) != k {
				continue
			}
			if t, ok := parseTime(valueText(in, value)); ok {
				r.Time, r.timed, r.exact, best = t, true, i == 0, i
			}
			break
		}
	}
	rd.text.close(o)
}

// valueText is scalar of the value that was passed last.
func valueText(in *scan.Scanner, v jsontext.Value) string {
	if v.Kind() == '"' && in.Plain() {
		return string(v[1 : len(v)-1])
	}
	return scalar(v)
}

// unquoted is what a name stands for.
func unquoted(literal []byte, plain bool) []byte {
	if plain {
		return literal[1 : len(literal)-1]
	}
	b, _ := jsontext.AppendUnquote(nil, literal) // the error says that something was replaced
	return b
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
	id := make([]byte, 0, 64)
	if r.id != "" {
		id = append(append(id, r.id...), '-')
	}
	id = hex.AppendEncode(id, binary.BigEndian.AppendUint64(nil, r.content))
	if nth > 1 {
		id = strconv.AppendInt(append(id, '-'), int64(nth), 10)
	}
	return string(id)
}

// layouts are the forms of time seen in Duo's records, white space removed, the
// usual one first, of which the time package is quickest: RFC 3339.
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
	if len(s) > 10 && s[10] == 'T' {
		if t, err := time.Parse(layouts[0], s); err == nil {
			return plausible(t)
		}
	}
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
