package duotest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"
)

// Options say how far generated records stray from the documentation.
type Options struct {
	// Quirks is the share of records, 0 to 1, with something that has been seen in someone's data: nulls, missing parts,
	// times and addresses in odd forms, JSON in strings, ids that repeat or are missing, unknown keys.
	Quirks float64
	// Small leaves of a record that has an id no more than that and its times, about 100 bytes: for tests of very many, where
	// it counts which records come and not what is in them. One with a quirk stays whole.
	Small bool
}

// Generator makes plausible records of one log: full-size, varied, with Duo's keys in Duo's order. Equal seeds make equal
// records. Ids are unique unless a quirk repeats one, and so is the content of records that have none. It is not safe for concurrent use.
type Generator struct {
	kind               kind
	options            Options
	rand               *rand.Rand
	lastID, previousID string // of the record at hand, and of the one before
	last, previous     object // the record at hand, and the one before
	serial             int    // see number
}

// NewGenerator returns a generator for a log. It panics on a log that does not exist.
func NewGenerator(log string, seed uint64, options Options) *Generator {
	for _, k := range kinds {
		if k.name == log {
			h := fnv.New64a()
			h.Write([]byte(log))
			return &Generator{kind: k, options: options, rand: rand.New(rand.NewPCG(seed, h.Sum64()))}
		}
	}
	panic(fmt.Sprintf("duotest: log %q: want one of %q", log, AllLogs()))
}

// NewRecords returns n records without quirks, spread over [from, to] and sorted by time. See Generator.Spread.
func NewRecords(log string, seed uint64, from, to time.Time, n int) []json.RawMessage {
	return NewGenerator(log, seed, Options{}).Spread(from, to, n)
}

// At returns a record of that time, which is written as the log does: with microseconds in v2, in whole seconds in v1, in
// milliseconds in trust_monitor.
func (g *Generator) At(t time.Time) json.RawMessage {
	t = t.UTC().Truncate(time.Microsecond)
	g.previousID, g.previous = g.lastID, g.last
	o := g.kind.record(g, t)
	odd := g.options.Quirks > 0 && g.rand.Float64() < g.options.Quirks
	if odd {
		pick(g, g.kind.quirks)(g, o)
	}
	if g.options.Small && g.kind.id != "" && !odd {
		o = slices.DeleteFunc(o, func(m member) bool { return m.key != g.kind.id && !slices.Contains(g.kind.times, m.key) })
	}
	g.last = o
	return appendJSON(nil, o)
}

// Spread returns n records of times within [from, to], the oldest first. They lie about evenly, but one in twenty falls on
// the microsecond of the one before, and one in twenty within its millisecond.
func (g *Generator) Spread(from, to time.Time, n int) []json.RawMessage {
	records := make([]json.RawMessage, n)
	last := from
	for i := range records {
		t := from.Add(time.Duration((float64(i) + g.rand.Float64()) / float64(n) * float64(to.Sub(from))))
		switch {
		case i > 0 && g.rand.IntN(20) == 0:
			t = last
		case i > 0 && g.rand.IntN(20) == 0:
			if end := last.Truncate(time.Millisecond).Add(999 * time.Microsecond); !end.After(to) {
				t = end
			}
		}
		if t.Before(last) {
			t = last
		}
		last = t
		records[i] = g.At(t)
	}
	return records
}

// stamp writes a time as v2 logs do.
func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000000+00:00") }

// pick returns one of the choices.
func pick[T any](g *Generator, choices []T) T { return choices[g.rand.IntN(len(choices))] }

// chance is true once in n times.
func (g *Generator) chance(n int) bool { return g.rand.IntN(n) == 0 }

// newID returns the id of the record at hand.
func (g *Generator) newID() string {
	g.lastID = g.uuid()
	return g.lastID
}

func (g *Generator) uuid() string {
	a, b := g.rand.Uint64(), g.rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff)
}

// number returns another number below ten million each time.
func (g *Generator) number() int {
	if g.serial == 0 {
		g.serial = 1 + g.rand.IntN(10_000_000)
	}
	g.serial++
	return g.serial * 7919 % 10_000_000 // 7919 divides no power of ten, so none comes twice before all came
}

// key returns the key of the n-th thing of a sort, which is always the same: the sort's two letters and eighteen more.
func key(sort string, n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b, x := []byte(sort), uint64(n)<<8|uint64(sort[1])
	for range 18 {
		x = x*6364136223846793005 + 1442695040888963407 // Knuth's linear congruential generator
		b = append(b, letters[x>>33%uint64(len(letters))])
	}
	return string(b)
}

// user is one of the account's 500 users, some of which appear far more often than others.
func (g *Generator) user() (n int, name string) {
	n = int(500 * g.rand.Float64() * g.rand.Float64())
	if n == 0 {
		return n, "jdoe"
	}
	return n, fmt.Sprintf("user-%04d", n)
}

var groups = []string{"Duo Users", "Engineering", "Finance", "Contractors", "VPN Users", "Émigré & \"Partners\""}

func (g *Generator) groups(n int) list {
	l := list{}
	for i := range n % 4 {
		l = append(l, fmt.Sprintf("%s (from AD sync \"example.com\")", groups[(n+i)%len(groups)]))
	}
	return l
}

var places = []object{
	{{"city", "Ann Arbor"}, {"country", "United States"}, {"state", "Michigan"}},
	{{"city", "The Dalles"}, {"country", "United States"}, {"state", "Oregon"}},
	{{"city", "London"}, {"country", "United Kingdom"}, {"state", "England"}},
	{{"city", "São Paulo"}, {"country", "Brazil"}, {"state", "São Paulo"}},
	{{"city", "München"}, {"country", "Germany"}, {"state", "Bavaria"}},
	{{"city", "東京"}, {"country", "Japan"}, {"state", "Tokyo"}},
}

var nowhere = object{{"city", nil}, {"country", nil}, {"state", nil}}

// address returns an IP address of those that are set aside for documentation (RFC 5737, RFC 3849).
func (g *Generator) address() string {
	if g.chance(8) {
		return fmt.Sprintf("2001:db8:%x:%x::%x", g.rand.IntN(1<<16), g.rand.IntN(1<<16), 1+g.rand.IntN(1<<16-1))
	}
	return fmt.Sprintf("%s.%d", pick(g, []string{"192.0.2", "198.51.100", "203.0.113"}), 1+g.rand.IntN(254))
}

var applications = []struct{ name, sort string }{
	{"Acme VPN", "radius"}, {"Microsoft RDP", "rdp"}, {"Web SDK", "websdk"}, {"UNIX Application", "unix"},
	{"Microsoft 365", "sso-365"}, {"Jump Host | \"bastion=1\"", "unix"}, {"1Password", "1password"}, {"Device Management Portal", "device-management"},
}

var browsers = []struct{ name, version string }{
	{"Chrome", "126.0.6478.127"}, {"Firefox", "127.0.2"}, {"Safari", "17.5"}, {"Edge Chromium", "126.0.2592.87"}, {"Mobile Safari", "17.5.1"},
}

var systems = []struct{ name, version string }{
	{"Mac OS X", "14.5"}, {"Windows", "10.0.19045.4529"}, {"Windows", "10.0.22631.3737"}, {"Linux", "6.8"}, {"iOS", "17.5.1"}, {"Android", "14"},
}

// outcomes are the results of an authentication with the reason and the factors that go with them; the common ones stand
// there more than once.
var outcomes = []struct {
	result, reason string
	factors        []any
}{
	{"success", "user_approved", list{"duo_push", "verified_duo_push", "phone_call"}},
	{"success", "user_approved", list{"duo_push"}},
	{"success", "user_approved", list{"duo_push"}},
	{"success", "valid_passcode", list{"duo_mobile_passcode", "sms_passcode", "yubikey_passcode", "hardware_token"}},
	{"success", "remembered_device", list{"remembered_device"}},
	{"success", "trusted_network", list{"trusted_network"}},
	{"success", "bypass_user", list{"not_available"}},
	{"denied", "no_response", list{"duo_push", "phone_call"}},
	{"denied", "user_mistake", list{"duo_push"}},
	{"denied", "invalid_passcode", list{"duo_mobile_passcode", "sms_passcode"}},
	{"denied", "locked_out", list{"not_available"}},
	{"denied", "out_of_date", list{"not_available"}},
	{"denied", "endpoint_is_not_trusted", list{"not_available"}},
	{"denied", "anomalous_push", list{"duo_push"}},
	{"failure", "error", list{"duo_push"}},
	{"fraud", "user_marked_fraud", list{"duo_push"}},
}

// authentication makes a record of the authentication log.
func authentication(g *Generator, t time.Time) object {
	n, name := g.user()
	app := g.rand.IntN(len(applications))
	outcome := pick(g, outcomes)
	event := "authentication"
	if g.chance(25) {
		event = "enrollment"
	}
	return object{
		{"access_device", g.accessDevice()},
		{"adaptive_trust_assessments", object{
			{"more_secure_auth", trust("Normal level of trust; no detection of known attack pattern")},
			{"remember_me", trust("Known Access IP")},
		}},
		{"alias", pick(g, []string{"", "", name + "@example.com"})},
		{"application", object{{"key", key("DI", app)}, {"name", applications[app].name}}},
		{"auth_device", object{
			{"ip", g.address()}, {"key", key("DP", n)}, {"location", pick(g, places)}, {"name", fmt.Sprintf("My phone (555-555-%04d)", n)},
		}},
		{"email", name + "@example.com"},
		{"event_type", event},
		{"factor", pick(g, outcome.factors)},
		{"isotimestamp", stamp(t)},
		{"ood_software", pick(g, []any{nil, "", "Chrome"})},
		{"reason", outcome.reason},
		{"result", outcome.result},
		{"timestamp", int(t.Unix())},
		{"trusted_endpoint_status", pick(g, []string{"trusted", "not trusted", "unknown"})},
		{"txid", g.newID()},
		{"user", object{{"groups", g.groups(n)}, {"key", key("DU", n)}, {"name", name}}},
	}
}

func (g *Generator) accessDevice() object {
	browser, system := pick(g, browsers), pick(g, systems)
	yes := func() bool { return !g.chance(6) }
	agents := list{object{{"security_agent", "Cisco Secure Endpoint"}, {"version", "8.4.0.30201"}}}
	return object{
		{"browser", browser.name},
		{"browser_version", browser.version},
		{"epkey", key("EP", g.rand.IntN(1000))},
		{"flash_version", "uninstalled"},
		{"hostname", pick(g, []any{nil, fmt.Sprintf("host-%03d.example.com", g.rand.IntN(1000))})},
		{"ip", g.address()},
		{"is_encryption_enabled", yes()},
		{"is_firewall_enabled", yes()},
		{"is_password_set", yes()},
		{"java_version", "uninstalled"},
		{"location", pick(g, places)},
		{"os", system.name},
		{"os_version", system.version},
		{"security_agents", agents},
	}
}

func trust(reason string) object {
	return object{
		{"features_version", "3.0"}, {"model_version", "2022.07.19.001"}, {"policy_enabled", false}, {"reason", reason}, {"trust_level", "NORMAL"},
	}
}

// actions are those of the activity log, with who does them to what.
var actions = []struct{ name, actor, target string }{
	{"admin_login", "admin", ""},
	{"admin_login_error", "admin", ""},
	{"user_create", "admin", "user"},
	{"user_update", "admin", "user"},
	{"user_delete", "admin", "user"},
	{"phone_create", "user", "phone"},
	{"phone_update", "admin", "phone"},
	{"bypass_create", "admin", "user"},
	{"integration_create", "admin", "integration"},
	{"integration_skey_view", "admin", "integration"},
	{"policy_update", "admin", "policy"},
	{"group_update", "admin", "group"},
	{"o2fa_user_provisioned", "user", "user"},
	{"ad_sync_finish", "system", "directory_sync"},
}

// activity makes a record of the activity log.
func activity(g *Generator, t time.Time) object {
	n, name := g.user()
	action := pick(g, actions)
	app := g.rand.IntN(len(applications))
	result := pick(g, []string{"SUCCESS", "SUCCESS", "SUCCESS", "FAILURE"})
	browser, system := pick(g, browsers), pick(g, systems)
	return object{
		{"access_device", object{
			{"browser", browser.name}, {"browser_version", browser.version}, {"ip", object{{"address", g.address()}}},
			{"location", pick(g, places)}, {"os", system.name}, {"os_version", system.version},
		}},
		{"action", object{
			{"details", object{{"notes", "changed \"status\"\nfrom a script"}, {"valid_secs", 3600}, {"auto_generated", true}}.text()},
			{"name", action.name},
		}},
		{"activity_id", g.newID()},
		{"actor", g.party(action.actor, n, name, t)},
		{"akey", key("DA", 0)},
		{"application", object{{"key", key("DI", app)}, {"name", applications[app].name}, {"type", applications[app].sort}}},
		{"old_target", nil},
		{"outcome", object{{"result", result}}},
		{"target", g.party(action.target, n+1, fmt.Sprintf("%s-%04d", action.target, n), t)},
		{"ts", stamp(t)},
	}
}

// party is an actor or a target; its details are JSON in a string.
func (g *Generator) party(sort string, n int, name string, t time.Time) any {
	if sort == "" {
		return nil
	}
	details := object{
		{"created", stamp(t.Add(-time.Duration(1+n) * 24 * time.Hour))},
		{"last_login", stamp(t.Add(-time.Duration(1+n) * time.Minute))},
		{"status", "Active"},
		{"groups", list{object{{"name", pick(g, groups)}, {"key", key("DG", n)}}}},
	}
	return object{{"details", details.text()}, {"key", key("DU", n)}, {"name", name}, {"type", sort}}
}

// telephony makes a record of the telephony log.
func telephony(g *Generator, t time.Time) object {
	n, _ := g.user()
	way := pick(g, []string{"sms", "sms", "phone"})
	credits := 1 + g.rand.IntN(3)
	if way == "phone" {
		credits *= 10
	}
	return object{
		{"context", pick(g, []string{"authentication", "authentication", "administrator login", "enrollment", "verify"})},
		{"credits", credits},
		{"phone", fmt.Sprintf("+1555555%04d", n)},
		{"telephony_id", g.newID()},
		{"ts", stamp(t)},
		{"txid", g.uuid()},
		{"type", way},
	}
}
