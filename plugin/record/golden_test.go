package record

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var logs = []string{"authentication", "activity", "telephony", "administrator", "offline_enrollment", "telephony_v1", "trust_monitor"}

// eventTypeOf is the value of the key eventtype: both telephony logs have the same.
func eventTypeOf(log string) string { return strings.TrimSuffix(log, "_v1") }

// readRecords reads the records of testdata/<log>.json, a list, as they stand there.
func readRecords(t testing.TB, log string) []json.RawMessage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", log+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var records []json.RawMessage
	if err := json.Unmarshal(text, &records); err != nil {
		t.Fatal(err)
	}
	return records
}

// TestGolden compares the events with testdata/<log>.<format>.golden.json. There the msgpack is shown as JSON, its order
// kept, floats with a point or an exponent, the time with its nanoseconds.
func TestGolden(t *testing.T) {
	for _, log := range logs {
		for f := range formats {
			o := Options{Format: Format(f), Version: "1.2.3"}
			t.Run(log+"/"+o.Format.String(), func(t *testing.T) {
				e := NewEncoder(o)
				var events []any
				for i, raw := range readRecords(t, log) {
					ev := Event{
						Raw:       raw,
						Time:      time.Date(2026, 2, 13, 18, 56, 20, 351346000+i, time.UTC),
						EventType: eventTypeOf(log),
						Host:      "api-00000000.duosecurity.com",
						EventID:   log + "-" + strconv.Itoa(i),
					}
					if i == 1 {
						ev.AccountID = "DA00000000000000EX01"
					}
					at, body := checkAs(t, e, o, ev)
					events = append(events, object{"time", at.Format(time.RFC3339Nano), "record", body})
				}
				compareGolden(t, filepath.Join("testdata", log+"."+o.Format.String()+".golden.json"), render(t, events))
			})
		}
	}
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), go test -update rewrites it:\n%s", path, diff)
	}
}

// render returns v as indented JSON text.
func render(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, renderValue(nil, v), "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

func renderValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case object:
		b = append(b, '{')
		for i, item := range v {
			if i > 0 {
				b = append(b, ",:"[i%2])
			}
			b = renderValue(b, item)
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = renderValue(b, item)
		}
		return append(b, ']')
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return append(b, s...)
	default:
		text := bytes.NewBuffer(b)
		enc := json.NewEncoder(text)
		enc.SetEscapeHTML(false)
		must(0, enc.Encode(v))
		return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	}
}
