package record

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

const (
	formatsDoc     = "../../docs/formats.md"
	performanceDoc = "../../docs/performance.md"
	readme         = "../../README.md"
)

// sampleEvent is the event that the documentation shows in all formats.
var sampleEvent = Event{
	Raw: []byte(`{"access_device": {"ip": {"address": "192.0.2.27"}}, "action": {"details": null, "name": "user_update"}, ` +
		`"activity_id": "72d7a4c8-6a4e-4f0d-9ac5-1f8e3a9b7c21", "actor": {"key": "DEVZZZ7PGBXNQSRQ4ZCK", "name": "Help Desk", "type": "admin"}, ` +
		`"application": null, "outcome": {"result": "SUCCESS"}, "target": {"details": "{\"status\": \"Locked out\"}", "name": "jdoe", "type": "user"}, ` +
		`"ts": "2026-02-13T18:56:20.351346+00:00"}`),
	Time:      time.Date(2026, 2, 13, 18, 56, 20, 351346000, time.UTC),
	EventType: "activity", Host: "api-xxxxxxxx.duosecurity.com", EventID: "72d7a4c8-6a4e-4f0d-9ac5-1f8e3a9b7c21-dfce79d91f25b61f",
}

// The documentation shows what the code makes; go test -update rewrites it.
func TestFormatsDoc(t *testing.T) {
	var b strings.Builder
	for f, row := range formats {
		_, body, err := parseEvent(NewEncoder(Options{Format: Format(f), Version: "0.1.0"}).Append(nil, sampleEvent))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "`%s`:\n\n```json\n%s\n```\n\n", row.name, renderValue(nil, body))
	}
	inDoc(t, formatsDoc, "formats", strings.TrimSuffix(b.String(), "\n"))

	names := []string{"authentication", "activity", "telephony", "administrator", "offline_enrollment", "trust_monitor"}
	if len(names) != len(cefLogs) {
		t.Errorf("the documentation has %d logs of %d", len(names), len(cefLogs))
	}
	b.Reset()
	b.WriteString("| CEF | " + strings.Join(names, " | ") + " |\n|---" + strings.Repeat("|---", len(names)) + "|\n")
	row := func(title string, cell func(cefLog) []string) {
		b.WriteString("| " + title)
		for _, name := range names {
			var code []string
			for _, path := range cell(cefLogs[name]) {
				code = append(code, "`"+path+"`")
			}
			b.WriteString(" | " + strings.Join(code, ", "))
		}
		b.WriteString(" |\n")
	}
	row("signature", func(l cefLog) []string { return append(slices.Clone(l.signature), "eventtype") })
	row("name", func(l cefLog) []string { return append(slices.Clone(l.name), "eventtype") })
	row("`externalId`", func(l cefLog) []string { return l.id })
	var keys []string
	for _, name := range names {
		for _, r := range cefLogs[name].rows {
			if !slices.Contains(keys, r.key) {
				keys = append(keys, r.key)
			}
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		row("`"+key+"`", func(l cefLog) []string {
			for _, r := range l.rows {
				if r.key == key {
					return r.paths
				}
			}
			return nil
		})
	}
	inDoc(t, formatsDoc, "cef", b.String())
}

// The README shows an event in format json, as a person would lay it out, and
// below it what the other formats make of the same event.
func TestReadmeFormats(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```json\n")
	shown, _, ok := strings.Cut(rest, "```")
	var added struct {
		Time      time.Time `json:"isotimestamp"`
		EventType string    `json:"eventtype"`
		Host      string    `json:"host"`
		EventID   string    `json:"event_id"`
	}
	raw := jsontext.Value(shown)
	if err := json.Unmarshal(raw, &added); err != nil || !ok {
		t.Fatal("the README's record:", err)
	}
	if err := raw.Compact(); err != nil {
		t.Fatal(err)
	}
	sent, _, ok := strings.Cut(string(raw), `,"eventtype":`)
	if !ok {
		t.Fatal("the README's record has no eventtype")
	}
	e := Event{Raw: []byte(sent + "}"), Time: added.Time, EventType: added.EventType, Host: added.Host, EventID: added.EventID}
	var b strings.Builder
	for f, row := range formats {
		_, body, err := parseEvent(NewEncoder(Options{Format: Format(f), Version: "0.1.0"}).Append(nil, e))
		if err != nil {
			t.Fatal(err)
		}
		if made := string(renderValue(nil, body)); row.name != "json" {
			fmt.Fprintf(&b, "`%s`:\n\n```json\n%s\n```\n\n", row.name, made)
		} else if made != string(raw) {
			t.Errorf("the README's record (-code +README):\n%s", cmp.Diff(made, string(raw)))
		}
	}
	inDoc(t, readme, "formats", strings.TrimSuffix(b.String(), "\n"))
}

// TestSizesDoc holds what the documentation says of an event's size in Fluent Bit's
// encoding: a usual record of each log, the first in testdata.
func TestSizesDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString("| log | as Duo sends it |")
	for _, f := range formats {
		b.WriteString(" `" + f.name + "` |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(formats)) + "\n")
	for _, log := range []string{"authentication", "activity", "telephony"} {
		raw := jsontext.Value(readRecords(t, log)[0])
		if err := raw.Compact(); err != nil {
			t.Fatal(err)
		}
		e := Event{Raw: raw, Time: sampleEvent.Time, EventType: log, Host: sampleEvent.Host, EventID: sampleEvent.EventID}
		fmt.Fprintf(&b, "| `%s` | %d |", log, len(raw))
		for f := range formats {
			fmt.Fprintf(&b, " %d |", len(NewEncoder(Options{Format: Format(f), Version: "0.1.0"}).Append(nil, e)))
		}
		b.WriteString("\n")
	}
	inDoc(t, performanceDoc, "sizes", b.String())
}

// inDoc compares what stands between two marks of a document.
func inDoc(t *testing.T, path, mark, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+mark+":begin -->\n", "<!-- "+mark+":end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q … %q", path, begin, end)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, between %q (-code +document), make update rewrites it:\n%s", path, mark, diff)
	}
}
