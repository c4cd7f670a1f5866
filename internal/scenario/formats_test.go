//go:build cgo

package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo"
	"duo_in/duo/duotest"
	"duo_in/internal/ceftest"
	"duo_in/internal/flbtest"
	"duo_in/plugin/record"
)

// sent is what Duo has of an event, and what duo_in is to know of it.
type sent struct {
	log duo.Log
	raw []byte
}

// eventKey tells events of several logs apart: of records without an id two
// logs may hold equal ones.
func eventKey(eventType, id string) string { return eventType + " " + id }

// all is every event of the simulated Duo by its key.
func (b *bed) all(now time.Time) map[string]sent {
	b.t.Helper()
	events := map[string]sent{}
	for _, l := range duo.Logs() {
		records := b.server.Records(l.Name)
		var list []byte
		for _, r := range records {
			list = append(append(list, r...), ',')
		}
		body := fmt.Sprintf(`{"response":[%s]}`, bytes.TrimSuffix(list, []byte(",")))
		if l.List != "" {
			body = fmt.Sprintf(`{"response":{%q:[%s]}}`, l.List, bytes.TrimSuffix(list, []byte(",")))
		}
		page, err := duo.ParsePage(l, []byte(body))
		if err != nil {
			b.t.Fatal(err)
		}
		open, _, _ := duo.NewCursor(now.Add(-26*time.Hour), now).Open(now.Add(time.Hour), duo.Window{})
		_, known, err := open.Advance(l, page, duo.Window{}, len(records)+1, now)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(known) != len(records) {
			b.t.Fatalf("%s: %d of %d records are known by an event_id", l.Name, len(known), len(records))
		}
		for _, r := range known {
			events[eventKey(l.EventType, r.EventID)] = sent{l, r.Raw}
		}
	}
	return events
}

// Times of the records of plugin/record/testdata, which Duo would keep no more.
var (
	isoTime  = regexp.MustCompile(`("(?:isotimestamp|ts)": *")\d{4}-\d\d-\d\d([T ])\d\d`)
	ownKey   = regexp.MustCompile(`(vent_id|eventtype)":`)
	unixTime = regexp.MustCompile(`("(?:timestamp|surfaced_timestamp)": *"?)(1\d{9})(\d{3})?\b`)
)

// today moves the times that a record of testdata has to the last hours, and
// leaves all else as it is, malformed times too.
func today(raw []byte, hour time.Time) []byte {
	raw = isoTime.ReplaceAll(raw, []byte("${1}"+hour.Format("2006-01-02")+"${2}"+hour.Format("15")))
	return unixTime.ReplaceAllFunc(raw, func(m []byte) []byte {
		p := unixTime.FindSubmatch(m)
		return fmt.Appendf(nil, "%s%d%s", p[1], hour.Unix()+int64(p[2][9]-'0'), p[3])
	})
}

// hostile files the records of testdata, which hold what Duo has been seen to
// send and more, and generated ones with quirks.
func (b *bed) hostile(now time.Time) {
	b.t.Helper()
	for i, log := range duotest.AllLogs() {
		text, err := os.ReadFile(filepath.Join("../../plugin/record/testdata", log+".json"))
		if err != nil {
			b.t.Fatal(err)
		}
		var records []json.RawMessage
		if err := json.Unmarshal(text, &records); err != nil {
			b.t.Fatal(err)
		}
		for _, raw := range records {
			// One with an event_id or eventtype of its own is not known by ours.
			if raw = today(raw, now.Add(-3*time.Hour).UTC()); bytes.HasPrefix(raw, []byte("{")) && !ownKey.Match(raw) {
				b.server.AddAt(log, now.Add(-3*time.Hour), raw)
			}
		}
		g := duotest.NewGenerator(log, uint64(i+1), duotest.Options{Quirks: 0.5})
		b.server.Add(log, g.Spread(now.Add(-20*time.Hour), now.Add(-time.Hour), 100)...)
	}
}

// Each of the seven logs in each of the four formats, in one Fluent Bit: every
// event arrives once, as plugin/record makes it, whose golden files say what
// that is; a CEF line is read back by a parser of its own.
func TestEveryLogInEveryFormat(t *testing.T) {
	t.Parallel()
	formats := []record.Format{record.JSON, record.Flat, record.Raw, record.CEF}
	inBoth(t, duotest.Config{}, func(b *bed) {
		now := time.Now()
		b.hostile(now)
		events := b.all(now)
		var inputs []flbtest.Input
		for _, f := range formats {
			inputs = append(inputs, b.input(f.String(), opt("format", f.String()), opt("since", "25h"),
				opt("logs", "all, administrator, offline_enrollment, telephony_v1"), opt("checkpoint_dir", filepath.Join(b.dir, "checkpoints", f.String()))))
		}
		p := b.start(inputs...)
		deliveries := map[record.Format]*delivery{}
		for _, f := range formats {
			d := b.delivery(f.String())
			defer func() { b.absent(d, events) }()
			b.waitFor("events as "+f.String(), time.Minute, func() bool { d.update(); return len(d.all) >= len(events) })
			deliveries[f] = d
		}
		b.stop(p)
		for f, d := range deliveries {
			d.update()
			if len(d.all) != len(events) {
				b.t.Errorf("%v: %d records, want %d", f, len(d.all), len(events))
			}
			enc := record.NewEncoder(record.Options{Format: f, Version: "0.1.0"})
			for _, r := range d.all {
				s, ok := events[eventKey(r.String("eventtype"), r.String("event_id"))]
				if !ok {
					b.t.Fatalf("%v: Duo has no %s", f, r.String("event_id"))
				}
				b.asEncoded(enc, f, r, s)
			}
		}
	})
}

// absent says which events have not arrived.
func (b *bed) absent(d *delivery, events map[string]sent) {
	b.t.Helper()
	arrived := map[string]bool{}
	for _, r := range d.all {
		arrived[eventKey(r.String("eventtype"), r.String("event_id"))] = true
	}
	for key, s := range events {
		if !arrived[key] {
			b.t.Errorf("%s: missing: %s", s.log.Name, s.raw)
		}
	}
}

// asEncoded compares an arrived record with what the encoder makes of it.
func (b *bed) asEncoded(enc *record.Encoder, f record.Format, r flbtest.Record, s sent) {
	b.t.Helper()
	want, err := flbtest.Unpack(enc.Append(nil, record.Event{
		Raw: s.raw, Time: r.Time, EventType: s.log.EventType, Host: b.duo.Addr, EventID: r.String("event_id"),
	}))
	if err != nil || len(want) != 1 {
		b.t.Fatalf("%d records: %v", len(want), err)
	}
	if diff := cmp.Diff(values(b.t, want[0].JSON), values(b.t, r.JSON)); diff != "" {
		b.t.Fatalf("%s as %v (-made +arrived):\n%s", s.log.Name, f, diff)
	}
	message := r.String("message")
	if f == record.Raw && !json.Valid([]byte(message)) || f >= record.Raw && strings.ContainsAny(message, "\r\n") {
		b.t.Errorf("%s as %v: not one line: %q", s.log.Name, f, message)
	}
	if f != record.CEF {
		return
	}
	fields, err := ceftest.Parse(message)
	if err != nil {
		b.t.Fatalf("%s: %q: %v", s.log.Name, message, err)
	}
	if fields["cs5"] != r.String("event_id") || fields["dvchost"] != b.duo.Addr || fields["rt"] != fmt.Sprint(r.Time.UnixMilli()) {
		b.t.Errorf("%s: fields %v", s.log.Name, fields)
	}
	for key, value := range fields {
		if !strings.Contains(string(s.raw), `"`+value+`"`) && slices.Contains([]string{"None", "null", "nil", "<nil>"}, value) {
			b.t.Errorf("%s: %s is %q", s.log.Name, key, value)
		}
	}
}

// values is JSON in its order, without its spelling: Fluent Bit writes numbers
// and letters in its own way.
func values(t *testing.T, text []byte) (out []string) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		token, err := dec.Token()
		if err != nil {
			if len(out) == 0 {
				t.Fatalf("%v: %s", err, text)
			}
			return out
		}
		out = append(out, fmt.Sprintf("%T %v", token, token))
	}
}

// A record nested 100 levels deep arrives, in every format, and so do those
// beside it: Fluent Bit itself would drop all of them without a word.
func TestDeepRecord(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		now := time.Now()
		for i, log := range duotest.Logs() {
			records := duotest.NewRecords(log, uint64(i+1), now.Add(-time.Hour), now.Add(-30*time.Minute), 21)
			deep := strings.Repeat(`{"deep":[`, 50) + "1" + strings.Repeat("]}", 50)
			records[10] = append(append(bytes.TrimSuffix(records[10], []byte("}")), `,"nested":`+deep...), '}')
			b.server.Add(log, records...)
		}
		var inputs []flbtest.Input
		formats := []string{"json", "flat", "raw", "cef"}
		for _, f := range formats {
			inputs = append(inputs, b.input(f, opt("format", f), opt("checkpoint_dir", filepath.Join(b.dir, "checkpoints", f))))
		}
		p := b.start(inputs...)
		for _, f := range formats {
			d := b.delivery(f)
			b.waitFor("63 records as "+f, time.Minute, func() bool { return d.update() == 63 })
			deep := 0
			for _, r := range d.all {
				deep += strings.Count(string(r.JSON), `deep`) / 50
			}
			if want := map[string]int{"json": 3, "flat": 3, "raw": 3}[f]; deep != want {
				b.t.Errorf("%s: %d deep records, want %d", f, deep, want)
			}
		}
		b.stop(p)
	})
}
