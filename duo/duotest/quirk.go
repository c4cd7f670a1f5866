package duotest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// A quirk changes a plausible record into one of a form that has been seen (duo-api, "Quirks"). Its time stays readable to
// the server, so that a record with a quirk is filed where it belongs.

var authenticationQuirks = []func(*Generator, object){
	setting(nil, "factor"),
	setting(nil, "reason"),
	setting(nil, "email"),
	setting(nil, "access_device", "os"),
	setting(nowhere, "access_device", "location"),
	setting("unknown", "access_device", "is_encryption_enabled"),
	setting("unknown", "access_device", "security_agents"),
	setting(nil, "access_device", "security_agents"),
	setting(list{}, "access_device", "security_agents"),
	setting("203.0.113.7:52814", "access_device", "ip"),
	setting("[2001:db8::7]:52814", "access_device", "ip"),
	setting("0.0.0.0", "access_device", "ip"),
	setting(nil, "auth_device", "ip"),
	setting(nowhere, "auth_device", "location"),
	setting(list{}, "user", "groups"),
	setting(absent{}, "access_device"),
	setting(absent{}, "auth_device"),
	setting(absent{}, "adaptive_trust_assessments"),
	setting(absent{}, "timestamp"),
	setting(absent{}, "txid"),
	isoTimestamp,
	func(g *Generator, o object) {
		o.set("user", append(o.get("user"), member{"new_in_duo", object{{"depth", 1}}}))
	},
	oddTime("isotimestamp"),
	repeatedID,
}

var activityQuirks = []func(*Generator, object){
	setting(nil, "application"),
	setting(absent{}, "outcome"),
	setting("phone_create", "action"),
	setting(nil, "action", "details"),
	setting(object{{"status", "Active"}, {"groups", list{}}}, "action", "details"),
	setting(`{"status": "Active", "groups": [`, "actor", "details"),
	setting(nil, "actor", "details"),
	setting(absent{}, "access_device"),
	setting(absent{}, "activity_id"),
	setting(object{{"details", nil}, {"new_in_duo", list{}}, {"name", "o2fa_user_reactivated"}}, "action"),
	oddTime("ts"),
	repeatedID,
}

var telephonyQuirks = []func(*Generator, object){
	setting(nil, "context"),
	setting("", "phone"),
	setting(0, "credits"),
	setting(absent{}, "txid"),
	setting(absent{}, "telephony_id"),
	oddTime("ts"),
	repeatedID,
}

// setting returns a quirk that gives the value to a key of the record, or of an object within.
func setting(value any, path ...string) func(*Generator, object) {
	return func(_ *Generator, o object) {
		for _, key := range path[:len(path)-1] {
			o = o.get(key)
		}
		o.set(path[len(path)-1], value)
	}
}

// oddTime returns a quirk that writes a time in another form: milliseconds, whole seconds where it had more, without T and
// zone, with spaces.
func oddTime(name string) func(*Generator, object) {
	return func(g *Generator, o object) {
		t, _ := time.Parse(time.RFC3339Nano, o.string(name))
		whole := t.Format("2006-01-02T15:04:05+00:00")
		forms := []string{
			t.Format("2006-01-02T15:04:05.000+00:00"),
			whole,
			t.Format("2006-01-02 15:04:05"),
			strings.ReplaceAll(whole, ":", ": "),
		}
		o.set(name, pick(g, slices.DeleteFunc(forms, func(form string) bool { return form == o.string(name) })))
	}
}

// repeatedID gives a record the id of the one before, whose content differs.
func repeatedID(g *Generator, o object) {
	if g.previousID != "" {
		o.set(g.kind.id, g.previousID)
	}
}

// isoTimestamp writes the timestamp as isotimestamp is written.
func isoTimestamp(_ *Generator, o object) { o.set("timestamp", o.string("isotimestamp")) }

// textTimestamp writes the timestamp's number as text.
func textTimestamp(_ *Generator, o object) {
	o.set("timestamp", strconv.Itoa(o.value("timestamp").(int)))
}

// repeated gives a record the content of the one before, its times aside: within a second the two are equal.
func repeated(g *Generator, o object) {
	for _, m := range g.previous {
		if !slices.Contains(g.kind.times, m.key) {
			o.set(m.key, m.value)
		}
	}
}
