package record

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seeds calls add for the records of testdata, for broken ones, and, where they are, for those of Duo's and others' tests.
func seeds(tb testing.TB, add func(raw []byte, log string)) {
	for _, log := range logs {
		for _, raw := range readRecords(tb, log) {
			add(raw, eventTypeOf(log))
		}
	}
	deep := strings.Repeat(`{"a":[`, 20) + strings.Repeat(`]}`, 20)
	for _, raw := range []string{``, `[]`, ` [ "a" ] `, `{"a":1}x`, `{"a"`, `{"a":1e400}`, "{\"\xff\":\"\\ud800\"}", `{"host":1,"host":2}`,
		`{"a":{"b":1},"a_b":2,"a_b":3,"event":{"id":1},"host":{}}`, "a\r\n\x00\u2028", deep} {
		add([]byte(raw), "activity")
		add([]byte(raw), "other")
	}
	files, _ := filepath.Glob("../../../shared/fixtures/*/*json") // an error is one of the pattern
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			tb.Fatal(err)
		}
		for dec := json.NewDecoder(f); ; {
			var value json.RawMessage
			if err := dec.Decode(&value); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				tb.Fatalf("%s: %v", file, err)
			}
			addAll(value, add)
		}
		if err := f.Close(); err != nil {
			tb.Fatal(err)
		}
	}
}

// addAll adds the records of an answer.
func addAll(value json.RawMessage, add func(raw []byte, log string)) {
	isList, isAnswer, log := value[0] == '[', false, "administrator"
	for _, m := range members(value) {
		for _, of := range []struct{ log, field string }{{"authentication", "access_device"}, {"activity", "activity_id"}, {"telephony", "phone"}, {"trust_monitor", "sekey"}} {
			if m.name == of.field {
				log = of.log
			}
		}
		if isList || strings.Contains(" response authlogs items events ", " "+m.name+" ") {
			addAll(m.value, add)
			isAnswer = true
		}
	}
	if !isAnswer && !isList {
		add(value, log)
	}
}

func FuzzAppend(f *testing.F) {
	seeds(f, func(raw []byte, log string) {
		f.Add(raw, int64(1771008980), int64(351346000), log, "api-00000000.duosecurity.com", "id", "")
	})
	f.Add([]byte("{}"), int64(-1), int64(-1), "\xff", "", "", "DA00000000000000EX01")
	f.Add([]byte("{}"), int64(0xFFFFFFFE), int64(0), "activity", "h", "id", "")
	e := NewEncoder(Options{})
	f.Fuzz(func(t *testing.T, raw []byte, sec, nsec int64, eventType, host, eventID, accountID string) {
		check(t, e, Event{raw, time.Unix(sec, nsec), eventType, host, eventID, accountID})
	})
}

func FuzzFlat(f *testing.F) { fuzzFormat(f, Flat) }
func FuzzRaw(f *testing.F)  { fuzzFormat(f, Raw) }
func FuzzCEF(f *testing.F)  { fuzzFormat(f, CEF) }

// fuzzFormat fuzzes a format with and without exclude.
func fuzzFormat(f *testing.F, format Format) {
	seeds(f, func(raw []byte, log string) {
		f.Add(raw, log, "api-00000000.duosecurity.com", "id", "", "")
		f.Add(raw, log, "api\r\n|=\\\xff", "\"id\"=1\\ ", "DA00000000000000EX01", "user.name, event_type, access_device.ip, explanations.summary, host, event_id, action.name")
	})
	e := NewEncoder(Options{Format: format})
	f.Fuzz(func(t *testing.T, raw []byte, eventType, host, eventID, accountID, exclude string) {
		paths, err := ParseExclude(exclude)
		if err != nil {
			return
		}
		ev := Event{raw, time.Unix(1771008980, 351346000), eventType, host, eventID, accountID}
		if paths == nil {
			checkAs(t, e, Options{Format: format}, ev)
			return
		}
		o := Options{Format: format, Exclude: paths, Version: exclude}
		checkAs(t, NewEncoder(o), o, ev)
	})
}
