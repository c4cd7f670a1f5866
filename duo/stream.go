package duo

import (
	"fmt"
	"strings"
)

// Log is one of Duo's logs: a row of the table that everything about a log
// comes from.
type Log struct {
	Name    string   // as in the option logs and in the field eventtype
	Aliases []string // what other tools call it
	Path    string   // of the endpoint, Duo Admin API
	List    string   // key of the records within the response
	ID      string   // key of Duo's id within a record
	Times   []string // keys of a record's time, the most exact first
	Default bool     // pulled when the option logs is not set
	PageMax int      // most records that one call may ask for
}

// logs is the table. Source: the Admin API's documentation of the v2 log
// endpoints; times in the requests are Unix milliseconds for all of them.
var logs = []Log{
	{
		Name: "authentication", Aliases: []string{"auth"}, Path: "/admin/v2/logs/authentication",
		List: "authlogs", ID: "txid", Times: []string{"isotimestamp", "timestamp"}, Default: true, PageMax: 1000,
	},
	{
		Name: "activity", Path: "/admin/v2/logs/activity",
		List: "items", ID: "activity_id", Times: []string{"ts"}, Default: true, PageMax: 1000,
	},
	{
		Name: "telephony", Path: "/admin/v2/logs/telephony",
		List: "items", ID: "telephony_id", Times: []string{"ts"}, Default: true, PageMax: 1000,
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
