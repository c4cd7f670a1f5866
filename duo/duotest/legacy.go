package duotest

import (
	"fmt"
	"time"
)

// wholeStamp writes a time as v1 logs do.
func wholeStamp(t time.Time) string { return t.Format("2006-01-02T15:04:05+00:00") }

// adminActions are those of the administrator log, with what their descriptions tell besides the notes.
var adminActions = []struct {
	name, object string
	details      object
}{
	{"admin_login", "administrator", object{{"ip_address", "192.0.2.7"}, {"device", "+15555550100"}, {"factor", "push"}, {"primary_auth_method", "Password"}}},
	{"admin_login_error", "administrator", object{{"ip_address", "203.0.113.7"}, {"error", "SAML login is disabled"}, {"email", "jdoe@example.com"}}},
	{"user_create", "user", object{{"realname", "\"Émigré\" | a=b"}, {"status", "Active"}, {"email", "jdoe@example.com"}}},
	{"user_update", "user", object{{"status", "Bypass"}}},
	{"user_delete", "user", object{}},
	{"phone_create", "phone", object{{"platform", "Apple iOS"}, {"extension", nil}}},
	{"bypass_create", "user", object{{"count", 1}, {"valid_secs", 3600}, {"auto_generated", true}, {"bypass_code_ids", list{"DBXXXXXXXXXXXXXXXXXX"}}}},
	{"integration_update", "integration", object{{"policy_key", nil}, {"groups_allowed", list{}}}},
	{"group_update", "group", object{{"name", "Contractors"}, {"status", "Disabled"}}},
	{"ad_sync_finish", "directory", object{{"users_added", 3}, {"message", "sync \"example.com\"\nfinished"}}},
}

// administrator makes a record of the administrator log. The notes tell it from the others.
func administrator(g *Generator, t time.Time) object {
	n, _ := g.user()
	action := pick(g, adminActions)
	notes := member{"notes", fmt.Sprintf("request %07d", g.number())}
	return object{
		{"action", action.name},
		{"description", append(object{notes}, action.details...).text()},
		{"isotimestamp", wholeStamp(t)},
		{"object", fmt.Sprintf("%s-%04d", action.object, n)},
		{"timestamp", int(t.Unix())},
		{"username", pick(g, []string{"Account Owner", "Help Desk", "admin-02", "API", "System"})},
	}
}

// offlineEnrollment makes a record of the offline_enrollment log. The host name tells it from the others.
func offlineEnrollment(g *Generator, t time.Time) object {
	_, name := g.user()
	client := object{
		{"factor", pick(g, []string{"duo_otp", "security_key"})},
		{"hostname", fmt.Sprintf("WS-%07d", g.number())},
		{"user_agent", "DuoCredProv/4.3.1.1003 (Windows NT 10.0.19045; x64; Workstation)"},
	}
	return object{
		{"action", pick(g, []string{"o2fa_user_provisioned", "o2fa_user_provisioned", "o2fa_user_deprovisioned", "o2fa_user_reenrolled"})},
		{"description", client.text()},
		{"isotimestamp", wholeStamp(t)},
		{"object", pick(g, []string{"Microsoft RDP", "Laptop Windows Logon"})},
		{"timestamp", int(t.Unix())},
		{"username", name},
	}
}

// telephonyV1 makes a record of the telephony log of v1. The phone's number tells it from the others.
func telephonyV1(g *Generator, t time.Time) object {
	way := pick(g, []string{"sms", "sms", "phone"})
	credits := 1 + g.rand.IntN(3)
	if way == "phone" {
		credits *= 10
	}
	return object{
		{"context", pick(g, []string{"authentication", "authentication", "administrator login", "enrollment", "verify"})},
		{"credits", credits},
		{"isotimestamp", wholeStamp(t)},
		{"phone", fmt.Sprintf("+1555%07d", g.number())},
		{"timestamp", int(t.Unix())},
		{"type", way},
	}
}

// describedQuirks are those of the two logs that describe what was done.
var describedQuirks = []func(*Generator, object){
	setting("Changed by \"script\", see ticket 7 | {unfinished", "description"),
	setting(`"message": "Admin temporarily locked out due to too many passcode attempts."`, "description"),
	setting("", "description"),
	setting(nil, "description"),
	setting(absent{}, "description"),
	setting(object{{"factor", "duo_otp"}, {"groups", list{}}, {"notes", nil}}, "description"),
	setting(nil, "object"),
	setting(absent{}, "object"),
	setting("", "username"),
	setting(absent{}, "timestamp"),
	setting(absent{}, "isotimestamp"),
	isoTimestamp,
	textTimestamp,
	oddTime("isotimestamp"),
	repeated,
}

var telephonyV1Quirks = []func(*Generator, object){
	setting(nil, "context"),
	setting("", "phone"),
	setting(0, "credits"),
	setting(absent{}, "timestamp"),
	setting(absent{}, "isotimestamp"),
	isoTimestamp,
	textTimestamp,
	oddTime("isotimestamp"),
	repeated,
}
