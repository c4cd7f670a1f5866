package duo

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/internal/scan"
)

func TestParseTime(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tc := range []struct {
		in   string
		want time.Time // zero: cannot be read
	}{
		{"2020-02-13T18:56:20.351346+00:00", at("2020-02-13T18:56:20.351346Z")},
		{"2020-02-13T18:56:20.351+00:00", at("2020-02-13T18:56:20.351Z")},
		{"2020-02-13T18:56:20+00:00", at("2020-02-13T18:56:20Z")},
		{"2020-02-13T18:56:20Z", at("2020-02-13T18:56:20Z")},
		{"2020-02-13T18:56:20.351346", at("2020-02-13T18:56:20.351346Z")},
		{"2020-02-13T18:56:20.351346+0000", at("2020-02-13T18:56:20.351346Z")},
		{"2020-02-13T20:56:20.5+02:00", at("2020-02-13T18:56:20.5Z")},
		{"2021-07-20T11: 41: 31+00: 00", at("2021-07-20T11:41:31Z")},
		{"2022-12-14 20:09:57", at("2022-12-14T20:09:57Z")},
		{"2022-12-14 20:09:57.25", at("2022-12-14T20:09:57.25Z")},
		{"2022-12-14 20:09:57+00:00", at("2022-12-14T20:09:57Z")},
		{" 2022-12-14\t20:09:57\n", at("2022-12-14T20:09:57Z")},
		{"2016-12-31T23:59:60+00:00", at("2017-01-01T00:00:00Z")},
		{"2016-12-31T23:59:60.75Z", at("2017-01-01T00:00:00.75Z")},
		{"2017-01-01T01:59:60+02:00", at("2017-01-01T00:00:00Z")},
		{"2038-01-19T03:14:08Z", at("2038-01-19T03:14:08Z")},
		{"2147483648", at("2038-01-19T03:14:08Z")},
		{"1581620180", at("2020-02-13T18:56:20Z")},
		{"1581620180.5", at("2020-02-13T18:56:20.5Z")},
		{"1581620180351", at("2020-02-13T18:56:20.351Z")},
		{"1.58162018e9", at("2020-02-13T18:56:20Z")},
		{"631152000", at("1990-01-01T00:00:00Z")},
		{"4102444799", at("2099-12-31T23:59:59Z")},

		{in: ""}, {in: "null"}, {in: "None"}, {in: "yesterday"}, {in: "NaN"}, {in: "Inf"}, {in: "-Inf"}, {in: "0"}, {in: "-1581620180"},
		{in: "1"}, {in: "1e300"}, {in: "99999999999999999999"}, {in: "1581620180351346"}, {in: "631151999"}, {in: "4102444800"},
		{in: "0001-01-01T00:00:00Z"}, {in: "1970-01-01T00:00:00Z"}, {in: "2100-01-01T00:00:00Z"}, {in: "2106-02-07T06:28:16Z"}, {in: "4294967296"}, {in: "9999-12-31T23:59:59Z"},
		{in: "2022-13-14 20:09:57"}, {in: "2022-02-30T20:09:57Z"}, {in: "2022-12-14"}, {in: "2022-12-14T20:60:57Z"},
		{in: "26-02-13T18:56:20Z"}, {in: "2026-2-13T18:56:20Z"}, {in: "02/13/2026 18:56:20"},
	} {
		got, ok := parseTime(tc.in)
		if ok != !tc.want.IsZero() || ok && !got.Equal(tc.want) {
			t.Errorf("parseTime(%q) = %v, %v; want %v", tc.in, got, ok, tc.want)
		}
		if ok && got.Location() != time.UTC {
			t.Errorf("parseTime(%q) is in %v, want UTC", tc.in, got.Location())
		}
	}
}

// Milliseconds stay what they are: one that is rounded down would put a record
// before the bound that it was asked for by.
func TestParseTimeKeepsMilliseconds(t *testing.T) {
	wrong := 0
	for ms := Millis(1_581_620_180_000); ms < 1_981_620_180_000; ms += 400_000_003 {
		got, ok := parseTime(strconv.FormatInt(int64(ms), 10))
		if !ok || ToMillis(got) != ms {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 1000 times in milliseconds were read as others", wrong)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2021-07-20T11: 41: 31+00: 00", "2022-12-14 20:09:57", "1581620180351", "1.5e9", "NaN", "2020-02-13T18:56:20.351346+00:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseTime(s)
		if ok && (got.UTC().Year() < 1989 || got.UTC().Year() > 2100) {
			t.Errorf("parseTime(%q) = %v", s, got)
		}
		// What parses stays the same when it is written in full.
		if again, ok2 := parseTime(got.Format(time.RFC3339Nano)); ok && got.Year() >= 1990 && got.Year() < 2100 && (!ok2 || !again.Equal(got)) {
			t.Errorf("parseTime(%q) = %v, and read again %v", s, got, again)
		}
	})
}

// newRecord reads one record, as of a page.
func newRecord(l Log, raw []byte) Record {
	in, rd := scan.New(raw), reader{log: l}
	return rd.read(&in)
}

func TestContentHash(t *testing.T) {
	const record = `{"a":1,"b":{"c":[{"d":null,"e":"x"},2],"f":true}}`
	for _, equal := range []string{
		`{"b":{"f":true,"c":[{"e":"x","d":null},2]},"a":1}`,
		" {\n\t\"a\" : 1 , \"b\" : { \"c\" : [ { \"d\" : null , \"e\" : \"x\" } , 2 ] , \"f\" : true } }\r\n",
		`{"a":1,"b":{"c":[{"d":null,"e":"\u0078"},2],"f":true}}`,
	} {
		if contentHash([]byte(equal)) != contentHash([]byte(record)) {
			t.Errorf("the hash of %s is not that of %s", equal, record)
		}
	}
	different := []string{
		record,
		`{"a":2,"b":{"c":[{"d":null,"e":"x"},2],"f":true}}`,
		`{"a":"1","b":{"c":[{"d":null,"e":"x"},2],"f":true}}`,
		`{"a":1,"b":{"c":[2,{"d":null,"e":"x"}],"f":true}}`, // the order in a list is content
		`{"a":1,"b":{"c":[{"d":null,"e":"X"},2],"f":true}}`,
		`{"a":1,"b":{"c":[{"e":"x"},2],"f":true}}`,
		`{"a":1,"b":{"c":[{"d":null,"e":"x"},2],"f":true},"g":null}`,
		`{"a":1,"a":2}`, `{"a":1,"a":3}`, `{"a":1}`, `{"a":2}`,
		`{"n":9007199254740992}`, `{"n":9007199254740993}`,
		`{"n":123456789012345678901234567890}`, `{"n":123456789012345678901234567891}`,
		`{"n":0.1}`, `{"n":0.10000000000000001}`,
		`{"s":"é"}`, `{"s":"e\u0301"}`,
		`{}`, `[]`, `null`, `""`, `0`, `not JSON`, `{"a":`,
	}
	seen := map[uint64]string{}
	for _, d := range different {
		h := contentHash([]byte(d))
		if before, ok := seen[h]; ok {
			t.Errorf("%s and %s have the same hash", before, d)
		}
		seen[h] = d
	}
}

// The hash is part of what is stored and of every event_id: a change would
// deliver the overlap of every installation again.
func TestContentHashStaysAsItIs(t *testing.T) {
	for record, want := range map[string]uint64{
		`{}`:                           0x44136fa355b3678a,
		`{"b":1,"a":{"d":2.50,"c":3}}`: 0xe17bab8c5d08e44f,
	} {
		if got := contentHash([]byte(record)); got != want {
			t.Errorf("contentHash(%s) = %#x, want %#x", record, got, want)
		}
	}
}

func TestNewRecord(t *testing.T) {
	authentication, _ := LookupLog("authentication")
	noon := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, raw, id string
		time          time.Time // zero: it has none
	}{
		{"both times", `{"txid":"x","timestamp":1,"isotimestamp":"2024-05-01T12:00:00.000000+00:00"}`, "x", noon},
		{"the exact time wins, whatever the order", `{"isotimestamp":"2024-05-01T12:00:00.5+00:00","timestamp":1714564800,"txid":"x"}`, "x", noon.Add(500 * time.Millisecond)},
		{"an odd exact time leaves the other", `{"isotimestamp":"soon","timestamp":1714564800}`, "", noon},
		{"an implausible exact time leaves the other", `{"isotimestamp":"0001-01-01T00:00:00Z","timestamp":1714564800}`, "", noon},
		{"a timestamp in a string", `{"timestamp":"1714564800"}`, "", noon},
		{"a timestamp in milliseconds", `{"timestamp":1714564800000}`, "", noon},
		{"an ISO time in the timestamp", `{"timestamp":"2024-05-01 12:00:00"}`, "", noon},
		{"a number as id", `{"txid":12}`, "12", time.Time{}},
		{"null everywhere", `{"txid":null,"timestamp":null,"isotimestamp":null}`, "", time.Time{}},
		{"objects everywhere", `{"txid":{"a":1},"timestamp":[1],"isotimestamp":{}}`, "", time.Time{}},
		{"times further down do not count", `{"user":{"txid":"no","timestamp":1714564800}}`, "", time.Time{}},
		{"the last of two ids", `{"txid":"a","txid":"b"}`, "b", time.Time{}},
		{"broken UTF-8", "{\"txid\":\"a\xffb\",\"timestamp\":1714564800}", "a\ufffdb", noon},
		{"no object", `["txid"]`, "", time.Time{}},
		{"null", `null`, "", time.Time{}},
		{"empty", `{}`, "", time.Time{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRecord(authentication, []byte(tc.raw))
			if string(r.Raw) != tc.raw {
				t.Errorf("Raw = %s, want %s", r.Raw, tc.raw)
			}
			if r.id != tc.id || !r.Time.Equal(tc.time) || r.timed != !tc.time.IsZero() {
				t.Errorf("id %q, time %v (%v); want %q, %v", r.id, r.Time, r.timed, tc.id, tc.time)
			}
		})
	}
}

func TestEventID(t *testing.T) {
	for _, tc := range []struct {
		id   string
		nth  int
		want string
	}{
		{"", 1, "00000000000000ab"},
		{"", 2, "00000000000000ab-2"},
		{"", 11, "00000000000000ab-11"},
		{"tx", 1, "tx-00000000000000ab"},
	} {
		if got := (Record{id: tc.id, content: 0xab}).eventID(tc.nth); got != tc.want {
			t.Errorf("eventID(%d) of %q = %q, want %q", tc.nth, tc.id, got, tc.want)
		}
	}
}

func TestLookupLog(t *testing.T) {
	for name, want := range map[string]string{
		"authentication": "authentication", "auth": "authentication", "AUTH": "authentication", "Activity": "activity", "telephony": "telephony",
		"adminaction": "administrator", "trustmonitor": "trust_monitor", "telephony_v1": "telephony_v1", "offline_enrollment": "offline_enrollment",
	} {
		l, err := LookupLog(name)
		if err != nil || l.Name != want {
			t.Errorf("LookupLog(%q) = %q, %v; want %q", name, l.Name, err, want)
		}
	}
	_, err := LookupLog("sso")
	want := `there is no log "sso"; the logs are authentication, activity, telephony, trust_monitor, administrator, offline_enrollment, telephony_v1`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

// No way of printing a secret shows it.
func TestSecretIsNeverPrinted(t *testing.T) {
	s := NewSecret("hunter2hunter2")
	type holder struct {
		Key  Secret
		Deep *Secret
	}
	h := holder{s, &s}
	asJSON, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	printed := map[string]string{"json": string(asJSON), "String": s.String(), "GoString": s.GoString(), "LogValue": s.LogValue().String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed[verb] = fmt.Sprintf(verb, h) + fmt.Sprintf(verb, s) + fmt.Sprintf(verb, &s)
	}
	for how, text := range printed {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e746572") {
			t.Errorf("%s shows the secret: %s", how, text)
		}
	}
	if diff := cmp.Diff("hunter2hunter2", s.Reveal()); diff != "" || s.IsZero() || !(Secret{}).IsZero() {
		t.Error("the secret itself is not kept")
	}
}
