package duotest

import "time"

// explanations are why an event was surfaced.
var explanations = []object{
	{{"summary", "jdoe has not logged in from this IP recently."}, {"type", "NEW_NETBLOCK"}},
	{{"summary", "jdoe has rarely used this \"factor\"."}, {"type", "UNUSUAL_FACTOR"}},
	{{"summary", "jdoe logged in from München and 東京 within an hour."}, {"type", "UNREALISTIC_GEOVELOCITY"}},
	{{"summary", "jdoe marked a request as fraud."}, {"type", "USER_MARKED_FRAUD"}},
}

// trustShapes are the types of event with what each adds to the common keys. Of device_registration only the type has been
// published.
var trustShapes = []struct {
	name string
	add  func(*Generator, time.Time, object) object
}{
	{"auth", surfacedAuth},
	{"auth", surfacedAuth},
	{"bypass_status", bypassStatus},
	{"device_registration", func(_ *Generator, _ time.Time, o object) object { return o }},
}

// trustMonitor makes an event of Trust Monitor, in one of its shapes.
func trustMonitor(g *Generator, t time.Time) object {
	shape := pick(g, trustShapes)
	g.lastID = key("SE", int(g.rand.Uint64()>>8))
	o := object{
		{"explanations", list{pick(g, explanations)}},
		{"priority_event", g.chance(5)},
		{"priority_reasons", list{}},
		{"sekey", g.lastID},
		{"state", pick(g, []string{"new", "new", "processed"})},
		{"state_updated_timestamp", nil},
		{"surfaced_timestamp", int(t.UnixMilli())},
		{"triage_event_uri", "https://admin-test.duosecurity.com/trust-monitor?sekey=" + g.lastID},
		{"triaged_as_interesting", false},
		{"type", shape.name},
	}
	return shape.add(g, t, o).sorted()
}

// surfacedAuth adds the record of the authentication that was surfaced.
func surfacedAuth(g *Generator, t time.Time, o object) object {
	id := g.lastID
	auth := authentication(g, t)
	g.lastID = id
	return append(o,
		member{"from_common_netblock", g.chance(3)}, member{"from_new_user", g.chance(8)}, member{"low_risk_ip", g.chance(8)},
		member{"surfaced_auth", auth})
}

// bypassStatus adds who may do without a second factor, since when and by whom.
func bypassStatus(g *Generator, t time.Time, o object) object {
	n, name := g.user()
	return append(o,
		member{"bypass_status_enabled", int(t.Add(-time.Duration(1+n) * time.Minute).UnixMilli())},
		member{"enabled_by", object{{"key", key("DE", n%5)}, {"name", "Help Desk"}}},
		member{"enabled_for", object{{"key", key("DU", n)}, {"name", name}}})
}

var trustMonitorQuirks = []func(*Generator, object){
	setting(list{}, "explanations"),
	setting(nil, "explanations"),
	setting(absent{}, "triage_event_uri"),
	setting("a_type_of_next_year", "type"),
	setting(absent{}, "sekey"),
	func(_ *Generator, o object) {
		o.set("state_updated_timestamp", o.value("surfaced_timestamp"))
		o.set("surfaced_timestamp", absent{})
	},
	func(_ *Generator, o object) {
		o.set("priority_reasons", list{object{{"label", "priority user group"}, {"type", "user"}}})
	},
	repeatedID,
}
