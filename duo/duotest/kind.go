package duotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The logs that a server offers.
const (
	Authentication = "authentication"
	Activity       = "activity"
	Telephony      = "telephony"
)

// kind is a row of the table of logs: all in which they differ.
type kind struct {
	name   string
	path   string
	list   string                             // key of the records in the response
	id     string                             // key of a record's id
	times  []string                           // keys of a record's time, the best first
	cursor func(cursor) any                   // next_offset as the log writes it
	record func(*Generator, time.Time) object // a plausible record of that time
	quirks []func(*Generator, object)         // what has been seen in someone's data, each applied to a plausible record
}

var kinds = []kind{
	{
		name: Authentication, path: "/admin/v2/logs/authentication", list: "authlogs", id: "txid",
		times: []string{"isotimestamp", "timestamp"}, cursor: pairCursor, record: authentication, quirks: authenticationQuirks,
	},
	{
		name: Activity, path: "/admin/v2/logs/activity", list: "items", id: "activity_id",
		times: []string{"ts"}, cursor: textCursor, record: activity, quirks: activityQuirks,
	},
	{
		name: Telephony, path: "/admin/v2/logs/telephony", list: "items", id: "telephony_id",
		times: []string{"ts"}, cursor: textCursor, record: telephony, quirks: telephonyQuirks,
	},
}

// Logs returns the names of the logs that a server offers.
func Logs() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// kindOf returns the log of a path, or the zero kind.
func kindOf(path string) kind {
	for _, k := range kinds {
		if k.path == path {
			return k
		}
	}
	return kind{}
}

func pairCursor(c cursor) any { return list{strconv.FormatInt(c.ms, 10), c.tie()} }
func textCursor(c cursor) any { return c.String() }

// read finds time and id of a record; a record without a readable time takes the fallback.
func (k kind) read(raw json.RawMessage, fallback time.Time) entry {
	e := entry{raw: raw}
	at := make([]time.Time, len(k.times))
	ok := eachMember(raw, func(key, value []byte) {
		if string(key) == k.id {
			e.id = string(bytes.Trim(value, `"`))
		}
		for i, name := range k.times {
			if string(key) == name {
				at[i] = readTime(string(bytes.Trim(value, `"`)))
			}
		}
	})
	if !ok {
		panic(fmt.Sprintf("duotest: %s record %.80q: want a JSON object", k.name, raw))
	}
	for _, t := range append(at, fallback) {
		if !t.IsZero() {
			e.ms = t.UnixMilli()
			break
		}
	}
	return e
}

// timeLayouts are the forms in which times stand in records, after the spaces that some contain were taken out.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05"}

// readTime reads an ISO time, malformed as Duo sometimes writes it, or seconds since 1970. It returns the zero time for
// anything else.
func readTime(text string) time.Time {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0)
	}
	text = strings.ReplaceAll(text, ": ", ":")
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return time.Time{}
}
