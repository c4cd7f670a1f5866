package record

// cefLog says how the records of one log become CEF lines. Paths are those of place, and the names in cefGiven; of several
// the first counts that has a value.
type cefLog struct {
	signature, name []string // in the header; without a value the eventtype
	id              []string // Duo's own, for externalId
	severity        []cefSeverity
	rows            []cefRow
}

// cefRow is a key of CEF's extension and where its value comes from. The label, where there is one, follows in <key>Label.
type cefRow struct {
	key, label string
	kind       cefKind
	paths      []string
}

// cefKind is how a value becomes an extension.
type cefKind int

const (
	cefText    cefKind = iota // a string, a number or true or false; several, of a list, are joined by "; "
	cefDetail                 // that, or an object or a list as compact JSON
	cefAddress                // an IP address, with a port or without: src or c6a2, and spt; no address is shost
)

// cefSeverity is the severity of records that have this value at the path, in any case.
type cefSeverity struct {
	path, value string
	severity    int
}

// cefOtherSeverity is that of records of which no row speaks.
const cefOtherSeverity = 5

// byResult are the severities of a log whose outcomes stand at this path.
func byResult(path string) []cefSeverity {
	return []cefSeverity{
		{path, "fraud", 9},
		{path, "denied", 7},
		{path, "failure", 7},
		{path, "error", 7},
		{path, "success", 3},
	}
}

// cefGiven are the paths of what a record does not hold itself: its time in milliseconds and the added keys, in their
// order. An added key that is excluded has no value.
var cefGiven = []string{"@time", "@eventtype", "@host", "@event_id", "@account_id"}

// cefFirst are the extensions of every log; externalId is that of the log's own id, where it has one. What identifies an
// event comes first, and a log's longest value last: a receiver that cuts lines cuts at the end.
var cefFirst = []cefRow{
	{key: "rt", paths: []string{"@time"}},
	{key: "externalId", paths: []string{"@event_id"}},
	{key: "dvchost", paths: []string{"@host"}},
	{key: "cs5", label: "event_id", paths: []string{"@event_id"}},
	{key: "cs6", label: "account_id", paths: []string{"@account_id"}},
}

// cefLogs has one table for each log, by its eventtype. A key stands for the same in every log, a csN within its own.
var cefLogs = map[string]cefLog{
	"authentication": {
		signature: []string{"event_type"},
		id:        []string{"txid"},
		severity:  byResult("result"),
		rows: []cefRow{
			{key: "src", kind: cefAddress, paths: []string{"access_device.ip"}},
			{key: "dhost", paths: []string{"access_device.hostname"}},
			{key: "duser", paths: []string{"user.name"}},
			{key: "outcome", paths: []string{"result"}},
			{key: "reason", paths: []string{"reason"}},
			{key: "cs1", label: "integration", paths: []string{"application.name"}},
			{key: "cs2", label: "factor", paths: []string{"factor"}},
			{key: "cs3", label: "event_type", paths: []string{"event_type"}},
		},
	},
	"activity": {
		signature: []string{"action.name", "action"},
		name:      []string{"actor.type"},
		id:        []string{"activity_id"},
		severity:  byResult("outcome.result"),
		rows: []cefRow{
			{key: "src", kind: cefAddress, paths: []string{"access_device.ip.address", "access_device.ip"}},
			{key: "suser", paths: []string{"actor.name"}},
			{key: "duser", paths: []string{"target.name"}},
			{key: "act", paths: []string{"action.name", "action"}},
			{key: "outcome", paths: []string{"outcome.result"}},
			{key: "cs1", label: "integration_name", paths: []string{"application.name"}},
			{key: "cs2", label: "integration_type", paths: []string{"application.type"}},
			{key: "msg", kind: cefDetail, paths: []string{"target.details", "action.details"}},
		},
	},
	"telephony": { // the older one too, which has no id
		signature: []string{"type"},
		name:      []string{"context"},
		id:        []string{"telephony_id"},
		rows: []cefRow{
			{key: "cs1", label: "context", paths: []string{"context"}},
			{key: "cs2", label: "type", paths: []string{"type"}},
			{key: "cs3", label: "phone", paths: []string{"phone"}},
		},
	},
	"administrator":      cefAdministrator,
	"offline_enrollment": cefAdministrator,
	"trust_monitor": {
		signature: []string{"type"},
		id:        []string{"sekey"},
		severity:  []cefSeverity{{"type", "bypass_status", 9}, {"priority_event", "true", 8}},
		rows: []cefRow{
			// A bypass_status has no surfaced_auth, but who enabled it for whom.
			{key: "src", kind: cefAddress, paths: []string{"surfaced_auth.access_device.ip"}},
			{key: "dhost", paths: []string{"surfaced_auth.access_device.hostname"}},
			{key: "suser", paths: []string{"enabled_by.name"}},
			{key: "duser", paths: []string{"surfaced_auth.user.name", "enabled_for.name"}},
			{key: "outcome", paths: []string{"state"}},
			{key: "cs1", label: "priority_event", paths: []string{"priority_event"}},
			{key: "msg", paths: []string{"explanations.summary"}},
		},
	},
}

var cefAdministrator = cefLog{
	signature: []string{"action"},
	rows: []cefRow{
		{key: "suser", paths: []string{"username"}},
		{key: "duser", paths: []string{"object"}},
		{key: "act", paths: []string{"action"}},
		{key: "msg", kind: cefDetail, paths: []string{"description"}},
	},
}

// cefAny is for a log that is not in the table, and for a record that cannot be read: all of it, as it is.
var cefAny = cefLog{rows: []cefRow{{key: "msg", kind: cefDetail, paths: []string{""}}}}
