package duo

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Log is one of Duo's logs: a row of the table that everything about a log
// comes from.
type Log struct {
	Name      string   // as in the option logs and in a checkpoint's name
	Aliases   []string // what other tools call it
	EventType string   // the field eventtype of its records
	Path      string   // of the endpoint, Duo Admin API
	List      string   // key of the records within the response; empty: the response is the list
	ID        string   // key of Duo's id within a record; empty: it has none
	Times     []string // keys of a record's time, the most exact first
	Default   bool     // pulled when the option logs is not set
	Successor string   // of a retired log: the one that its events are in too
	PageMax   int      // most records that one call brings
	paging    paging
}

// paging is how a log is read page by page. A new window begins with an empty
// Cursor.Next; what else Next holds is the paging's own.
type paging interface {
	// params are the parameters of the call for the next page.
	params(c Cursor, now time.Time, pageSize int) url.Values
	// advance takes a page in, see [Cursor.Advance].
	advance(c Cursor, p Page, w Window, pageSize int, now time.Time) (Cursor, []Record, error)
}

// logs is the table. Source: the Admin API's documentation of the log
// endpoints. Duo announced the end of administrator and offline_enrollment for
// 2026-09-30 and that of trust_monitor for 2027-01-31.
var logs = []Log{
	{
		Name: "authentication", Aliases: []string{"auth"}, EventType: "authentication", Path: "/admin/v2/logs/authentication",
		List: "authlogs", ID: "txid", Times: []string{"isotimestamp", "timestamp"}, Default: true, PageMax: 1000, paging: searchAfter{},
	},
	{
		Name: "activity", EventType: "activity", Path: "/admin/v2/logs/activity",
		List: "items", ID: "activity_id", Times: []string{"ts"}, Default: true, PageMax: 1000, paging: searchAfter{},
	},
	{
		Name: "telephony", EventType: "telephony", Path: "/admin/v2/logs/telephony",
		List: "items", ID: "telephony_id", Times: []string{"ts"}, Default: true, PageMax: 1000, paging: searchAfter{},
	},
	{
		Name: "trust_monitor", Aliases: []string{"trustmonitor"}, EventType: "trust_monitor", Path: "/admin/v1/trust_monitor/events",
		List: "events", ID: "sekey", Times: []string{"surfaced_timestamp", "bypass_status_enabled", "state_updated_timestamp"}, PageMax: 200, paging: position{},
	},
	{
		Name: "administrator", Aliases: []string{"adminaction"}, EventType: "administrator", Path: "/admin/v1/logs/administrator",
		Times: []string{"timestamp", "isotimestamp"}, Successor: "activity", PageMax: 1000, paging: bySecond{page: 1000},
	},
	{
		Name: "offline_enrollment", EventType: "offline_enrollment", Path: "/admin/v1/logs/offline_enrollment",
		Times: []string{"timestamp", "isotimestamp"}, Successor: "activity", PageMax: 1000, paging: bySecond{page: 1000},
	},
	{
		Name: "telephony_v1", EventType: "telephony", Path: "/admin/v1/logs/telephony",
		Times: []string{"timestamp", "isotimestamp"}, Successor: "telephony", PageMax: 1000, paging: bySecond{page: 1000},
	},
}

// Logs returns the table of logs in its own order.
func Logs() []Log { return append([]Log(nil), logs...) }

// LookupLog finds a log by its name or by an alias, without regard to case.
func LookupLog(name string) (Log, error) {
	var known []string
	for _, l := range logs {
		for _, n := range append([]string{l.Name}, l.Aliases...) {
			if strings.EqualFold(n, name) {
				return l, nil
			}
		}
		known = append(known, l.Name)
	}
	return Log{}, fmt.Errorf("there is no log %q; the logs are %s", name, strings.Join(known, ", "))
}
