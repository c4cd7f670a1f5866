package record

import (
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/internal/ceftest"
)

// cefPromise is what each log's lines promise: key, label after a colon, and the paths of which the first with
// a value counts. "ip" makes src, c6a2 or shost, and spt; an exclamation mark lets objects and lists count too.
var cefPromise = map[string]string{
	"authentication": `
		signature event_type
		externalId txid
		ip access_device.ip
		dhost access_device.hostname
		duser user.name
		outcome result
		reason reason
		cs1:integration application.name
		cs2:factor factor
		cs3:event_type event_type`,
	"activity": `
		signature action.name action
		name actor.type
		externalId activity_id
		ip access_device.ip.address access_device.ip
		suser actor.name
		duser target.name
		act action.name action
		outcome outcome.result
		cs1:integration_name application.name
		cs2:integration_type application.type
		msg target.details! action.details!`,
	"telephony": `
		signature type
		name context
		externalId telephony_id
		cs1:context context
		cs2:type type
		cs3:phone phone`,
	"administrator": `
		signature action
		suser username
		duser object
		act action
		msg description!`,
	"offline_enrollment": `
		signature action
		suser username
		duser object
		act action
		msg description!`,
	"trust_monitor": `
		signature type
		externalId sekey
		ip surfaced_auth.access_device.ip
		dhost surfaced_auth.access_device.hostname
		suser enabled_by.name
		duser surfaced_auth.user.name enabled_for.name
		outcome state
		cs1:priority_event priority_event
		msg explanations.summary`,
}

// checkCEF parses the line of an event and compares it with what is promised of the record.
func checkCEF(t *testing.T, o Options, ev Event, body object) {
	t.Helper()
	if len(body) < 2 || body[0] != "message" {
		t.Fatalf("event without a message: %q", body)
	}
	if want, got := left(o, ev, nil), body[2:]; !slices.Equal(want, got) {
		t.Fatalf("beside the message (-want +got):\n%s", cmp.Diff(want, got))
	}
	line := body[1].(string)
	got, err := ceftest.Parse(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if want := promised(o, ev); !maps.Equal(want, got) {
		t.Fatalf("record %q as %v\nline %q (-want +got):\n%s", clip(ev.Raw), o, line, cmp.Diff(want, got))
	}
}

// promised are the header's fields and the extensions of a record's line.
func promised(o Options, ev Event) map[string]string {
	given := map[string]string{}
	for more := left(o, ev, nil); len(more) > 0; more = more[2:] {
		given[more[0].(string)] = trim(string([]rune(ev.value(more[0].(string)))))
	}
	readable := json.Valid(ev.Raw) && strings.TrimSpace(string(ev.Raw))[0] == '{'
	rows, known := cefPromise[ev.EventType]
	values := func(paths ...string) string {
		for _, path := range paths {
			path, whole := strings.CutSuffix(path, "!")
			if v := texts(without(ev.Raw, o.Exclude), strings.Split(path, "."), whole); len(v) > 0 {
				return strings.Join(v, "; ")
			}
		}
		return ""
	}
	version := trimEmpty(o.Version, "0")
	want := map[string]string{"signature": "", "name": "", "severity": "5"}
	switch {
	case !readable:
		want["msg"] = trim(string([]rune(string(ev.Raw))))
	case !known:
		want["msg"] = trim(oneLine(without(ev.Raw, o.Exclude)))
	default:
		for row := range strings.Lines(strings.TrimSpace(rows)) {
			key, paths := strings.Fields(row)[0], strings.Fields(row)[1:]
			key, label, _ := strings.Cut(key, ":")
			if key == "ip" {
				addAddress(want, values(paths...))
				continue
			}
			if want[key] = values(paths...); label != "" && want[key] != "" {
				want[key+"Label"] = label
			}
		}
		want["severity"] = severity(ev.EventType, values)
	}
	want["rt"] = strconv.FormatInt(clamp(ev.Time).UnixMilli(), 10)
	want["dvchost"] = given["host"]
	want["externalId"] = trimEmpty(want["externalId"], given["event_id"])
	want["signature"] = trimEmpty(want["signature"], trimEmpty(given["eventtype"], "event"))
	want["name"] = trimEmpty(want["name"], trimEmpty(given["eventtype"], "event"))
	for key, name := range map[string]string{"cs5": "event_id", "cs6": "account_id"} {
		if want[key] = given[name]; want[key] != "" {
			want[key+"Label"] = name
		}
	}
	for key, value := range want {
		if value == "" {
			delete(want, key)
			continue
		}
		want[key] = clean(value, slices.Contains([]string{"signature", "name"}, key))
	}
	want["version"] = clean(string([]rune(version)), true)
	return want
}

func clamp(t time.Time) time.Time {
	switch {
	case t.Unix() < 0:
		return time.Unix(0, 0)
	case t.Unix() > 0xFFFFFFFD:
		return time.Unix(0xFFFFFFFD, 0)
	}
	return t
}

func (ev Event) value(name string) string {
	return map[string]string{"eventtype": ev.EventType, "host": ev.Host, "event_id": ev.EventID, "account_id": ev.AccountID}[name]
}

func trimEmpty(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r == ' ' || ceftest.BreaksLine(r) })
}

// clean is what a receiver gets of a value.
func clean(s string, header bool) string {
	return strings.Map(func(r rune) rune {
		if ceftest.BreaksLine(r) && (header || r != '\n' && r != '\r') {
			return ' '
		}
		return r
	}, strings.ReplaceAll(s, "\r\n", "\n"))
}

// texts are the values at a path, through lists, that are not empty.
func texts(text json.RawMessage, path []string, whole bool) (found []string) {
	text = json.RawMessage(strings.TrimSpace(string(text)))
	switch container := text[0] == '{' || text[0] == '['; {
	case text[0] == '[' && !(len(path) == 0 && whole):
		for _, m := range members(text) {
			found = append(found, texts(m.value, path, whole)...)
		}
		return found
	case len(path) > 0:
		for _, m := range members(text) {
			if m.name == path[0] {
				found = append(found, texts(m.value, path[1:], whole)...)
			}
		}
		return found
	case container && !whole || string(text) == "null":
		return nil
	case text[0] == '"':
		var s string
		must(0, json.Unmarshal(text, &s))
		found = append(found, trim(s))
	default:
		found = append(found, oneLine(text))
	}
	return slices.DeleteFunc(found, func(s string) bool { return s == "" })
}

// severity is that of a log's record.
func severity(log string, values func(...string) string) string {
	switch log {
	case "trust_monitor":
		if strings.EqualFold(values("type"), "bypass_status") {
			return "9"
		}
		if strings.EqualFold(values("priority_event"), "true") {
			return "8"
		}
		return "5"
	case "authentication", "activity":
		path := map[string]string{"authentication": "result", "activity": "outcome.result"}[log]
		of := map[string]string{"fraud": "9", "denied": "7", "failure": "7", "error": "7", "success": "3"}
		return trimEmpty(of[strings.ToLower(values(path))], "5")
	}
	return "5"
}

// addAddress adds what an address makes, by package net.
func addAddress(want map[string]string, value string) {
	host, port, err := net.SplitHostPort(value)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || strings.HasPrefix(value, "[") != strings.Contains(host, ":") {
		host, port = value, ""
		if inner, ok := strings.CutPrefix(value, "["); ok && strings.Contains(inner, ":") && strings.HasSuffix(inner, "]") {
			host = strings.TrimSuffix(inner, "]")
		}
	} else {
		port = strconv.FormatUint(n, 10)
	}
	switch ip := net.ParseIP(host); {
	case ip == nil:
		want["shost"] = value
		return
	case ip.To4() != nil:
		want["src"] = ip.String()
	default:
		want["c6a2"], want["c6a2Label"] = ip.String(), "Source IPv6 Address"
	}
	want["spt"] = port
}

// TestCEFLine shows whole lines.
func TestCEFLine(t *testing.T) {
	const head = `CEF:0|Duo Security|duo_in|1.2.3|`
	const ids = `rt=1771008980351 externalId=340a23e3-0123456789abcdef dvchost=api-00000000.duosecurity.com cs5=340a23e3-0123456789abcdef cs5Label=event_id`
	tests := []struct{ name, log, json, want string }{
		{"nothing", "authentication", `{}`, head + `authentication|authentication|5|` + ids},
		{"header", "telephony", `{"type":"a|b\\c\r\nd=e","context":" f "}`,
			head + `a\|b\\c d=e|f|5|` + ids + ` cs1=f cs1Label=context cs2=a|b\\c\nd\=e cs2Label=type`},
		{"values", "administrator", `{"action":"a","username":"x=1 y\\=2|","object":"a\rb\nc\r\nd\te\u0000f\u2028g","description":"\n 🔑\u0085"}`,
			head + `a|administrator|5|` + ids + ` suser=x\=1 y\\\=2| duser=a\rb\nc\nd e f g act=a msg=🔑`},
		{"no word for null", "administrator", `{"action":null,"username":[],"object":{},"description":null}`,
			head + `administrator|administrator|5|` + ids},
		{"unknown log", "radius", `{"type": "x", "a": [1, null]}`, head + `radius|radius|5|` + ids + ` msg={"type":"x","a":[1,null]}`},
		{"broken", "activity", `{"action": "a=b`, head + `activity|activity|5|` + ids + ` msg={"action": "a\=b`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := event(tt.json)
			ev.EventType = tt.log
			got := bodyAs(t, Options{Format: CEF, Version: "1.2.3"}, ev)[1]
			if diff := cmp.Diff(any(tt.want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCEFAddress(t *testing.T) {
	const v6 = "c6a2=2001:db8::1 c6a2Label=Source IPv6 Address"
	tests := []struct{ ip, want string }{
		{"192.0.2.1", "src=192.0.2.1"},
		{"192.0.2.1:1234", "src=192.0.2.1 spt=1234"},
		{"0.0.0.0", "src=0.0.0.0"},
		{"0.0.0.0:0", "src=0.0.0.0 spt=0"},
		{"::ffff:192.0.2.1", "src=192.0.2.1"},
		{"2001:DB8::1", v6},
		{"[2001:db8::1]", v6},
		{"[2001:db8::1]:1234", v6 + " spt=1234"},
		{"fe80::1%eth0", "shost=fe80::1%eth0"},
		{"192.0.2.1:99999", "shost=192.0.2.1:99999"},
		{"[192.0.2.1]:1", "shost=[192.0.2.1]:1"},
		{"192.0.2.1, 192.0.2.2", "shost=192.0.2.1, 192.0.2.2"},
		{"vpn.example.com", "shost=vpn.example.com"},
		{"unknown", "shost=unknown"},
		{"", ""},
	}
	for _, tt := range tests {
		t.Run(tt.ip, func(t *testing.T) {
			line := bodyAs(t, Options{Format: CEF}, event(`{"access_device":{"ip":"`+tt.ip+`"}}`))[1].(string)
			_, got, _ := strings.Cut(line, " cs5Label=event_id")
			if diff := cmp.Diff(tt.want, strings.TrimPrefix(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCEFSeverity(t *testing.T) {
	tests := []struct{ log, json, want string }{
		{"authentication", `{"result":"FRAUD"}`, "9"},
		{"authentication", `{"result":"denied"}`, "7"},
		{"authentication", `{"result":"Failure"}`, "7"},
		{"authentication", `{"result":"error"}`, "7"},
		{"authentication", `{"result":"SUCCESS"}`, "3"},
		{"authentication", `{"result":"new"}`, "5"},
		{"authentication", `{}`, "5"},
		{"activity", `{"outcome":{"result":"SUCCESS"}}`, "3"},
		{"activity", `{"result":"fraud"}`, "5"},
		{"telephony", `{"result":"fraud"}`, "5"},
		{"trust_monitor", `{"type":"bypass_status","priority_event":true}`, "9"},
		{"trust_monitor", `{"type":"auth","priority_event":true}`, "8"},
		{"trust_monitor", `{"type":"auth","priority_event":false}`, "5"},
	}
	for _, tt := range tests {
		t.Run(tt.log+tt.json, func(t *testing.T) {
			ev := event(tt.json)
			ev.EventType = tt.log
			if got := strings.Split(bodyAs(t, Options{Format: CEF}, ev)[1].(string), "|")[6]; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
