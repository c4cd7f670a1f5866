//go:build cgo

package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// published are the expressions that a widely used guide tells SIEM users to
// apply to Duo's records, and the fields that their groups stand for.
var published = map[string]struct {
	expression *regexp.Regexp
	fields     []string
}{
	duotest.Authentication: {
		regexp.MustCompile(`{"access_device":{"browser":"?([^",]+)"?,.+hostname":"?([^",]+)"?,"ip":"?([^",]+)"?,.+location":{"city":"?([^",]+)"?,"country":"?([^",]+)"?,"state":"?([^",]+)"?},"os":"?([^",]+)"?,.+name":"?([^",]+)"?},"auth_device":{"ip":"?([^",]+)"?,"location":{"city":"?([^",]+)"?,"country":"?([^",]+)"?,"state":"?([^",]+)"?},"name":"?([^}"]+)"*},\s*"email":"?([^",]+)?"?,"event_type":"?([^",]+)"?,"factor":"?([^",]+)"?,"isotimestamp":"?([^",\+\.]+).+"?,"reason":"?([^",]+)"?,"result":"?([^",]+)"?.+user":{"groups":\["?([^\]]+)?"?\],"key":"?([^",]+)"?,"name":"?([^",]+)"?.+`),
		[]string{"access_device.browser", "access_device.hostname", "access_device.ip", "access_device.location.city", "access_device.location.country",
			"access_device.location.state", "access_device.os", "application.name", "auth_device.ip", "auth_device.location.city", "auth_device.location.country",
			"auth_device.location.state", "auth_device.name", "email", "event_type", "factor", "isotimestamp", "reason", "result", "user.groups", "user.key", "user.name"},
	},
	duotest.Administrator: {
		regexp.MustCompile(`{"action":"?([^",]+)"?,"description":"{(.+)?}","isotimestamp":"?([^",\+]+).+"?,"object":"?([^",]+)"?.+username":"?([^",]+)"?,"eventtype":"?([^",]+)"?.+`),
		[]string{"action", "description", "isotimestamp", "object", "username", "eventtype"},
	},
	duotest.TelephonyV1: {
		regexp.MustCompile(`{"context":"?([^",]+)"?,.+isotimestamp":"?([^",\+]+).+"?,"phone":"?([^",]+)"?.+"type":"?([^",]+)"?,"eventtype":"?([^",]+)"?.+`),
		[]string{"context", "isotimestamp", "phone", "type", "eventtype"},
	},
}

// ofThatTime is a record as Duo sent it when the guide was written: without
// auth_device.key.
var authDeviceKey = regexp.MustCompile(`("auth_device": \{"ip": [^{]*?)"key": "[^"]*", `)

func ofThatTime(raw json.RawMessage) json.RawMessage {
	return authDeviceKey.ReplaceAll(raw, []byte("$1"))
}

// What the documentation says they cannot match, and how they read a null or a
// comma.
func TestPublishedParsersLimits(t *testing.T) {
	const (
		administrator = `{"action":"user_update","description":"{\"a\": 1}","isotimestamp":"2026-02-13T18:56:20+00:00","object":"jdoe","timestamp":1,"username":"admin","eventtype":"administrator","host":"h"}`
		telephony     = `{"context":"verify","credits":1,"isotimestamp":"2026-02-13T18:56:20+00:00","phone":"+15550100","timestamp":1,"type":"sms","eventtype":"telephony","host":"h"}`
	)
	tests := []struct {
		log, record, old, new string
		field                 string
		want                  string // of that field; empty for no match
	}{
		{duotest.Administrator, administrator, ``, ``, "object", "jdoe"},
		{duotest.Administrator, administrator, `"jdoe"`, `null`, "object", "null"},
		{duotest.Administrator, administrator, `"jdoe"`, `"Doe, J."`, "object", "Doe"},
		{duotest.Administrator, administrator, `"jdoe"`, `""`, "object", ""},
		{duotest.Administrator, administrator, `"admin"`, `""`, "username", ""},
		{duotest.Administrator, administrator, `"{\"a\": 1}"`, `"text"`, "description", ""},
		{duotest.Administrator, administrator, `"{\"a\": 1}"`, `null`, "description", ""},
		{duotest.TelephonyV1, telephony, ``, ``, "phone", "+15550100"},
		{duotest.TelephonyV1, telephony, `"+15550100"`, `null`, "phone", "null"},
		{duotest.TelephonyV1, telephony, `"+15550100"`, `""`, "phone", ""},
		{duotest.TelephonyV1, telephony, `"verify"`, `""`, "context", ""},
		{duotest.TelephonyV1, telephony, `"isotimestamp":"2026-02-13T18:56:20+00:00",`, ``, "isotimestamp", ""},
	}
	for _, tt := range tests {
		t.Run(tt.log+" "+tt.field+" "+tt.new, func(t *testing.T) {
			p, got := published[tt.log], ""
			if groups := p.expression.FindStringSubmatch(strings.Replace(tt.record, tt.old, tt.new, 1)); groups != nil {
				got = groups[1+slices.Index(p.fields, tt.field)]
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What the documentation says of the output syslog.
func TestSyslog(t *testing.T) {
	const bom = "\uFEFF"
	b := newBed(t, flbtest.FluentBit, duotest.Config{})
	long := strings.Repeat("x", 3000)
	tests := []struct {
		name, options string
		want          string // an expression
		length        int    // where it is cut; 0 for nowhere
	}{
		{"default", "", `^<14>1 \S+ - - - - - ` + bom + `x+$`, 2048},
		{"rfc3164", "syslog_format rfc3164", `^<14>\w{3} [ \d]\d \d\d:\d\d:\d\d x+$`, 1024},
		{"whole", "syslog_format rfc5424\n    syslog_maxsize 65536\n    syslog_hostname_key host", `^<14>1 \S+ duo\.example\.com - - - - ` + bom + `x+$`, 0},
		{"rfc3164 whole", "syslog_format rfc3164\n    syslog_maxsize 65536\n    syslog_hostname_key host", `^<14>\w{3} [ \d]\d \d\d:\d\d:\d\d duo\.example\.com x+$`, 0},
	}
	c := "[SERVICE]\n    flush 0.5\n[INPUT]\n    name dummy\n    tag dummy\n    samples 1\n    dummy " +
		fmt.Sprintf(`{"message":%q,"host":"duo.example.com"}`, long) + "\n"
	receivers := make([]*flbtest.Receiver, len(tests))
	for i, tt := range tests {
		receivers[i] = receiver(t, "tcp")
		host, port, err := net.SplitHostPort(receivers[i].Addr)
		if err != nil {
			t.Fatal(err)
		}
		c += fmt.Sprintf("[OUTPUT]\n    name syslog\n    match dummy\n    mode tcp\n    host %s\n    port %s\n    syslog_message_key message\n    %s\n", host, port, tt.options)
	}
	spec := b.spec
	spec.Config, spec.ConfigName = c, "syslog.conf"
	p := b.startSpec(spec)
	for i, tt := range tests {
		b.waitFor(tt.name, time.Minute, func() bool { return len(receivers[i].Lines()) > 0 })
		line := receivers[i].Lines()[0]
		if !regexp.MustCompile(tt.want).MatchString(line) || tt.length > 0 && len(line) != tt.length || tt.length == 0 && !strings.HasSuffix(line, long) {
			t.Errorf("%s: %d bytes, want %d, %.120q", tt.name, len(line), tt.length, line)
		}
	}
	b.stop(p)
}

// Whoever has those expressions at work goes on with them: what a receiver gets
// of the records that they were made for gives all their fields.
func TestPublishedParsers(t *testing.T) {
	b := newBed(t, flbtest.FluentBit, duotest.Config{})
	now := time.Now()
	source := map[string]map[string]string{} // the fields by what identifies a record, by log
	for log, p := range published {
		source[log] = map[string]string{}
		for _, raw := range duotest.NewRecords(log, 5, now.Add(-20*time.Hour), now.Add(-time.Hour), 300) {
			raw = ofThatTime(raw)
			fields := captures(t, log, raw, p.fields)
			if strings.Contains(strings.Join(fields, ""), `"bastion`) {
				continue // the expressions do not know of quotes within a name
			}
			b.server.Add(log, raw)
			source[log][strings.Join(fields, "\n")] = ""
		}
	}
	ways := map[string]*flbtest.Receiver{}
	for _, way := range []string{"json", "syslog", "tcp"} {
		ways[way] = receiver(t, "tcp")
	}
	p := b.startSpec(b.parsersSpec(ways))
	want := 0
	for _, fields := range source {
		want += len(fields)
	}
	for way, r := range ways {
		b.waitFor("records by way of "+way, time.Minute, func() bool { return len(r.Lines()) >= want })
	}
	b.stop(p)
	for way, r := range ways {
		for log, p := range published {
			var got []string
			for _, line := range r.Lines() {
				if groups := p.expression.FindStringSubmatch(line); groups != nil {
					for i := range groups {
						groups[i] = unescaped(groups[i])
					}
					got = append(got, strings.Join(groups[1:], "\n"))
				}
			}
			wanted := make([]string, 0, len(source[log]))
			for fields := range source[log] {
				wanted = append(wanted, fields)
			}
			slices.Sort(got)
			slices.Sort(wanted)
			if diff := cmp.Diff(wanted, slices.Compact(got)); diff != "" {
				t.Errorf("%s by way of %s: fields (-Duo's +found by the published expression):\n%.4000s", log, way, diff)
			}
		}
	}
}

func (b *bed) parsersSpec(ways map[string]*flbtest.Receiver) flbtest.Spec {
	var c strings.Builder
	fmt.Fprintf(&c, "[SERVICE]\n    flush 0.5\n    storage.path %s\n", filepath.Join(b.dir, "storage"))
	for way, output := range map[string]string{
		"json":   "tcp\n    format json_lines\n    json_date_key false",
		"syslog": "syslog\n    mode tcp\n    syslog_format rfc5424\n    syslog_message_key message\n    syslog_maxsize 65536",
		"tcp":    "tcp\n    raw_message_key $message",
	} {
		format := map[string]string{"json": "json"}[way]
		if format == "" {
			format = "raw"
		}
		host, port, err := net.SplitHostPort(ways[way].Addr)
		if err != nil {
			b.t.Fatal(err)
		}
		fmt.Fprintf(&c, "[INPUT]\n    name duo\n    tag %[1]s\n    storage.type filesystem\n    format %[2]s\n    logs authentication,administrator,telephony_v1\n"+
			"    api_host %[3]s\n    integration_key %[4]s\n    secret_key ${DUO_SECRET_KEY}\n    ca_file %[5]s\n    checkpoint_dir %[6]s\n    poll_interval 1s\n"+
			"[OUTPUT]\n    name %[7]s\n    match %[1]s\n    host %[8]s\n    port %[9]s\n    retry_limit no_limits\n",
			way, format, b.duo.Addr, duotest.IntegrationKey, b.ca, filepath.Join(b.dir, "checkpoints", way), output, host, port)
	}
	spec := b.spec
	spec.Config, spec.ConfigName = c.String(), "parsers.conf"
	return spec
}

// captures are what an expression's groups are to find in a record: the fields'
// JSON without quotes, of a time what precedes the zone, of an object or a list
// what is within.
func captures(t *testing.T, log string, raw json.RawMessage, fields []string) (texts []string) {
	t.Helper()
	for _, path := range fields {
		if path == "eventtype" {
			texts = append(texts, strings.TrimSuffix(log, "_v1"))
			continue
		}
		var value bytes.Buffer
		if err := json.Compact(&value, field(t, raw, strings.Split(path, "."))); err != nil {
			t.Fatal(err)
		}
		text := strings.Trim(value.String(), `"`)
		switch path {
		case "isotimestamp":
			text, _, _ = strings.Cut(text, "+")
			text, _, _ = strings.Cut(text, ".")
		case "description":
			text = strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
		case "user.groups": // the last one keeps its quote
			text = strings.TrimPrefix(strings.Trim(text, "[]"), `"`)
		}
		texts = append(texts, unescaped(text))
	}
	return texts
}

var escape = regexp.MustCompile(`\\u[0-9a-f]{4}`)

// unescaped writes \u00fc as ü: outputs differ in that.
func unescaped(text string) string {
	return escape.ReplaceAllStringFunc(text, func(e string) (s string) {
		_ = json.Unmarshal([]byte(`"`+e+`"`), &s)
		return s
	})
}

func field(t *testing.T, raw json.RawMessage, path []string) json.RawMessage {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	value := object[path[0]]
	if len(path) > 1 {
		return field(t, value, path[1:])
	}
	return value
}
