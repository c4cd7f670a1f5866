package duotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The logs that a server offers.
const (
	Authentication    = "authentication"
	Activity          = "activity"
	Telephony         = "telephony"
	Administrator     = "administrator"
	OfflineEnrollment = "offline_enrollment"
	TelephonyV1       = "telephony_v1"
	TrustMonitor      = "trust_monitor"
)

// kind is a row of the table of logs: all in which they differ.
type kind struct {
	name     string
	path     string
	optional bool                                                // not every account has it, or not for long any more
	window   func(url.Values, time.Time, Config) (window, error) // reads a call's parameters
	offset   string                                              // parameter that brings back next_offset, if the log has any
	list     string                                              // key of the records in the response; none where the response is the records
	metadata func(page, Config) object                           // what stands beside them; not asked for without a list
	id       string                                              // key of a record's id, if it has one
	times    []string                                            // keys of a record's time, the best first
	record   func(*Generator, time.Time) object                  // a plausible record of that time
	quirks   []func(*Generator, object)                          // what has been seen in someone's data, each applied to a plausible record
}

var kinds = []kind{
	{
		name: Authentication, path: "/admin/v2/logs/authentication",
		window: searchWindow, offset: "next_offset", list: "authlogs", metadata: searchAfter(pairCursor),
		id: "txid", times: []string{"isotimestamp", "timestamp"}, record: authentication, quirks: authenticationQuirks,
	},
	{
		name: Activity, path: "/admin/v2/logs/activity",
		window: searchWindow, offset: "next_offset", list: "items", metadata: searchAfter(textCursor),
		id: "activity_id", times: []string{"ts"}, record: activity, quirks: activityQuirks,
	},
	{
		name: Telephony, path: "/admin/v2/logs/telephony",
		window: searchWindow, offset: "next_offset", list: "items", metadata: searchAfter(textCursor),
		id: "telephony_id", times: []string{"ts"}, record: telephony, quirks: telephonyQuirks,
	},
	{
		name: Administrator, path: "/admin/v1/logs/administrator", optional: true,
		window: sinceWindow, times: []string{"timestamp", "isotimestamp"}, record: administrator, quirks: describedQuirks,
	},
	{
		name: OfflineEnrollment, path: "/admin/v1/logs/offline_enrollment", optional: true,
		window: sinceWindow, times: []string{"timestamp", "isotimestamp"}, record: offlineEnrollment, quirks: describedQuirks,
	},
	{
		name: TelephonyV1, path: "/admin/v1/logs/telephony", optional: true,
		window: sinceWindow, times: []string{"timestamp", "isotimestamp"}, record: telephonyV1, quirks: telephonyV1Quirks,
	},
	{
		name: TrustMonitor, path: "/admin/v1/trust_monitor/events", optional: true,
		window: offsetWindow, offset: "offset", list: "events", metadata: positional,
		id: "sekey", times: []string{"surfaced_timestamp", "state_updated_timestamp"}, record: trustMonitor, quirks: trustMonitorQuirks,
	},
}

// Logs returns the names of the logs that every account has: authentication, activity and telephony.
func Logs() []string {
	var names []string
	for _, k := range kinds {
		if !k.optional {
			names = append(names, k.name)
		}
	}
	return names
}

// AllLogs returns the names of all logs that a server offers: those of Logs, then those that not every account has.
func AllLogs() []string {
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

// read finds time and id of a record; a record without a readable time takes the fallback.
func (k kind) read(raw json.RawMessage, fallback time.Time) entry {
	e := entry{raw: raw}
	at := make([]time.Time, len(k.times))
	ok := eachMember(raw, func(key, value []byte) {
		if k.id != "" && string(key) == k.id {
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

// readTime reads an ISO time, malformed as Duo sometimes writes it, or seconds or milliseconds since 1970. It returns the
// zero time for anything else.
func readTime(text string) time.Time {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n >= earliestMillis {
			return time.UnixMilli(n)
		}
		return time.Unix(n, 0)
	}
	text = strings.ReplaceAll(text, ": ", ":")
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return time.Time{}
}
