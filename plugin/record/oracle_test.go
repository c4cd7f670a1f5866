package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ugorji/go/codec"
)

// oracle is what format json has to make of ev, found another way: encoding/json reads the record, codec writes the event.
func oracle(ev Event) []byte {
	body, ok := object{}, false
	if json.Valid(ev.Raw) {
		body, ok = tree(ev.Raw, 1).(object)
	}
	if !ok {
		body = object{"message", strings.ToValidUTF8(string(ev.Raw), "\uFFFD")}
	}
	sent := slices.Clone(body)
	add := func(name, value string) {
		for i := 0; ok && i < len(sent); i += 2 {
			if sent[i] == name {
				return
			}
		}
		body = append(body, name, strings.ToValidUTF8(value, "\uFFFD"))
	}
	add("eventtype", ev.EventType)
	add("host", ev.Host)
	add("event_id", ev.EventID)
	if ev.AccountID != "" {
		add("account_id", ev.AccountID)
	}
	var out []byte
	handle := &codec.MsgpackHandle{WriteExt: true, PositiveIntUnsigned: true}
	codec.NewEncoderBytes(&out, handle).MustEncode([]any{eventTime(ev.Time), body})
	return out
}

func eventTime(t time.Time) *codec.RawExt {
	switch {
	case t.Before(time.Unix(0, 0)):
		t = time.Unix(0, 0)
	case !t.Before(time.Unix(0xFFFFFFFE, 0)):
		t = time.Unix(0xFFFFFFFD, 0)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(t.Unix()))
	return &codec.RawExt{Data: binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))}
}

// tree is the value of valid JSON text. level is the one that it has if it is an object or a list.
func tree(text json.RawMessage, level int) any {
	text = bytes.TrimSpace(text)
	isObject := text[0] == '{'
	switch {
	case !isObject && text[0] != '[':
		return scalar(text)
	case level > 32:
		var compact bytes.Buffer
		must(0, json.Compact(&compact, text))
		return strings.ToValidUTF8(compact.String(), "\uFFFD")
	}
	list := []any{}
	dec := json.NewDecoder(bytes.NewReader(text))
	must(dec.Token())
	for dec.More() {
		if isObject {
			list = append(list, must(dec.Token()))
		}
		var value json.RawMessage
		must(0, dec.Decode(&value))
		list = append(list, tree(value, level+1))
	}
	if isObject {
		return object(list)
	}
	return list
}

func scalar(text json.RawMessage) any {
	if text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		var v any
		must(0, json.Unmarshal(text, &v))
		return v
	}
	if i, ok := new(big.Int).SetString(string(text), 10); ok {
		switch {
		case i.IsInt64():
			return i.Int64()
		case i.IsUint64():
			return i.Uint64()
		}
	} else if f, err := strconv.ParseFloat(string(text), 64); err == nil {
		return f
	}
	return string(text)
}

// check encodes ev after a few bytes and compares it with the oracle, byte for byte.
func check(t *testing.T, e *Encoder, ev Event) {
	t.Helper()
	raw, prefix := slices.Clone(ev.Raw), []byte("before")
	dst := e.Append(slices.Clip(slices.Clone(prefix)), ev)
	if !bytes.Equal(ev.Raw, raw) {
		t.Errorf("Append changed the record\nfrom %q\n  to %q", raw, ev.Raw)
	}
	got, ok := bytes.CutPrefix(dst, prefix)
	if !ok {
		t.Fatalf("Append changed what stood before: %q", dst[:len(prefix)])
	}
	at, body, err := parseEvent(got)
	if err != nil {
		t.Fatalf("Append(%q): %v", clip(raw), err)
	}
	if want := oracle(ev); !bytes.Equal(got, want) {
		wantAt, wantBody, err := parseEvent(want)
		t.Fatalf("Append(%q) at %v (%v), want %v (%v)\nbody (-want +got):\n%s\ngot  % x\nwant % x",
			clip(raw), at, ev.Time, wantAt, err, cmp.Diff(wantBody, body), clip(got), clip(want))
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 2000)] }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// randomJSON writes a value of any kind, hostile ones too, with white space here and there.
func randomJSON(r *rand.Rand, depth int) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	space := func() string { return pick("", "", "", " ", "\n\t", "\r") }
	str := func() string {
		var b strings.Builder
		for range r.IntN(r.IntN(40) + 1) {
			b.WriteString(pick("a", "Z", " ", "ü", "日", "🔑", `\n`, `\"`, `\\`, `\/`, `\u0000`, `\u00fc`, `\ud83d`, `\udd11`,
				`\ud83d\udd11`, "\xff", "\xe2\x82", "\u2028", "\x7f"))
		}
		return `"` + b.String() + `"`
	}
	kind := r.IntN(9)
	if depth == 0 {
		kind = r.IntN(7)
	}
	switch kind {
	case 0:
		return pick("null", "true", "false")
	case 1:
		return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)
	case 2:
		return fmt.Sprintf("%s%d%s%s", pick("", "-"), r.IntN(100), pick("", ".0", ".50", ".125"), pick("", "", "e5", "E-3", "e+400"))
	case 3:
		return pick("18446744073709551615", "18446744073709551616", "-9223372036854775809", "-0", "0")
	case 4:
		return pick(`"eventtype"`, `"host"`, `""`)
	case 5, 6:
		return str()
	}
	var items []string
	for range r.IntN(r.IntN(20) + 1) {
		item := space() + randomJSON(r, depth-1) + space()
		if kind == 7 {
			name := pick(str(), str(), `"host"`, `"event_id"`, `"\u0068ost"`, `"account_id"`, `"a"`)
			item = space() + name + space() + ":" + item
		}
		items = append(items, item)
	}
	if kind == 7 {
		return "{" + space() + strings.Join(items, ",") + "}"
	}
	return "[" + space() + strings.Join(items, ",") + "]"
}

func TestRandomRecordsMatchOracle(t *testing.T) {
	const seed = 20260213
	r := rand.New(rand.NewPCG(seed, 0))
	e := NewEncoder(Options{})
	for n := range 3000 {
		raw := fmt.Sprintf(`{"n": %d, "v": %s}`, n, randomJSON(r, 6))
		switch r.IntN(20) {
		case 0:
			raw = raw[:r.IntN(len(raw))]
		case 1:
			raw += randomJSON(r, 0)
		case 2:
			raw = strings.Replace(raw, ":", strings.Repeat(`:[{"deep":`, 17), 1)
		case 3:
			raw = `{"v": ` + strings.Repeat(`[{"deep":`, 17) + raw + strings.Repeat("}]", 17) + "}"
		}
		ev := Event{Raw: []byte(raw), Time: time.Unix(r.Int64N(1<<33)-1<<31, r.Int64N(1e9)), EventType: "activity", Host: "\xffhost", EventID: "id"}
		if r.IntN(2) == 0 {
			ev.AccountID = "DA00000000000000EX01"
		}
		check(t, e, ev)
	}
}

func FuzzAppend(f *testing.F) {
	for _, log := range logs {
		for _, raw := range readRecords(f, log) {
			f.Add([]byte(raw), int64(1771008980), int64(351346000), log, "api-00000000.duosecurity.com", "id", "")
		}
	}
	for _, raw := range []string{``, `[]`, `{"a":1}x`, `{"a"`, `{"a":1e400}`, "{\"\xff\":\"\\ud800\"}", `{"host":1,"host":2}`} {
		f.Add([]byte(raw), int64(-1), int64(-1), "\xff", "", "", "DA00000000000000EX01")
	}
	deep := strings.Repeat(`{"a":[`, 20) + strings.Repeat(`]}`, 20)
	f.Add([]byte(deep), int64(0xFFFFFFFE), int64(0), "activity", "h", "id", "")
	e := NewEncoder(Options{})
	f.Fuzz(func(t *testing.T, raw []byte, sec, nsec int64, eventType, host, eventID, accountID string) {
		check(t, e, Event{raw, time.Unix(sec, nsec), eventType, host, eventID, accountID})
	})
}
