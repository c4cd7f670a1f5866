package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ugorji/go/codec"

	"duo_in/internal/ceftest"
)

// oracle is what format json has to make of ev, found another way: encoding/json reads the record, codec writes the event.
func oracle(ev Event) []byte { return oracleAs(Options{}, ev) }

// oracleAs is what the formats other than cef have to make of ev.
func oracleAs(o Options, ev Event) []byte {
	var body object
	switch readable := json.Valid(ev.Raw) && bytes.TrimSpace(ev.Raw)[0] == '{'; {
	case !readable:
		body = slices.Concat(object{"message", unreadable(o.Format, ev.Raw)}, left(o, ev, nil))
	case o.Format == Flat:
		body = flatBody(o, ev)
	case o.Format == Raw:
		body = rawBody(o, ev)
	default:
		body = tree(without(ev.Raw, o.Exclude), 1).(object)
		body = slices.Concat(body, left(o, ev, names(body)))
	}
	var out []byte
	handle := &codec.MsgpackHandle{WriteExt: true, PositiveIntUnsigned: true}
	codec.NewEncoderBytes(&out, handle).MustEncode([]any{eventTime(ev.Time), body})
	return out
}

// left are the added keys, without those that are excluded and those that the record has.
func left(o Options, ev Event, has []string) (more object) {
	for _, key := range [][2]string{{"eventtype", ev.EventType}, {"host", ev.Host}, {"event_id", ev.EventID}, {"account_id", ev.AccountID}} {
		if key != [2]string{"account_id"} && !slices.Contains(o.Exclude, key[0]) && !slices.Contains(has, key[0]) {
			more = append(more, key[0], strings.ToValidUTF8(key[1], "\uFFFD"))
		}
	}
	return more
}

func names(o object) (names []string) {
	for i := 0; i < len(o); i += 2 {
		names = append(names, o[i].(string))
	}
	return names
}

// unreadable is the text of a record that is no JSON object.
func unreadable(f Format, raw []byte) string {
	switch {
	case f != Raw:
		return strings.ToValidUTF8(string(raw), "\uFFFD")
	case json.Valid(raw):
		return oneLine(raw)
	}
	line := []rune(string(raw))
	for i, r := range line {
		if ceftest.BreaksLine(r) {
			line[i] = ' '
		}
	}
	return string(line)
}

var escapes = regexp.MustCompile(`(?s)\\(u[dD][89abAB]..\\u[dD][c-fC-F]..|u....|.)`)

// oneLine is JSON text without white space, invalid UTF-8 and lone surrogates.
func oneLine(text json.RawMessage) string {
	var compact bytes.Buffer
	must(0, json.Compact(&compact, text))
	return escapes.ReplaceAllStringFunc(string([]rune(compact.String())), func(s string) string {
		if len(s) == 6 && strings.ContainsAny(s[2:3], "dD") && s[3] >= '8' {
			return "\uFFFD"
		}
		return s
	})
}

// member is a field of an object, or an element of a list; there the name is empty.
type member struct {
	name, literal string
	value         json.RawMessage
}

// members are what JSON text holds; a scalar holds nothing.
func members(text json.RawMessage) (list []member) {
	text = bytes.TrimSpace(text)
	if text[0] != '{' && text[0] != '[' {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	must(dec.Token())
	for dec.More() {
		var m member
		if text[0] == '{' {
			start := dec.InputOffset()
			m.name = must(dec.Token()).(string)
			m.literal = strings.Trim(string(text[start:dec.InputOffset()]), " \t\r\n,")
		}
		must(0, dec.Decode(&m.value))
		list = append(list, m)
	}
	return list
}

// without is JSON text without what lies at these paths.
func without(text json.RawMessage, paths []string) json.RawMessage {
	text = bytes.TrimSpace(text)
	if len(paths) == 0 || text[0] != '{' && text[0] != '[' {
		return text
	}
	var kept []string
	for _, m := range members(text) {
		if text[0] == '[' {
			kept = append(kept, string(without(m.value, paths)))
			continue
		}
		var below []string
		for _, path := range paths {
			if rest, ok := strings.CutPrefix(path, m.name+"."); ok {
				below = append(below, rest)
			}
		}
		if !slices.Contains(paths, m.name) {
			kept = append(kept, m.literal+":"+string(without(m.value, below)))
		}
	}
	return json.RawMessage(string(text[:1]) + strings.Join(kept, ",") + string(text[len(text)-1:]))
}

func rawBody(o Options, ev Event) object {
	record := without(ev.Raw, o.Exclude)
	line := strings.TrimSuffix(oneLine(record), "}")
	more := left(o, ev, names(tree(record, 1).(object)))
	for i := 0; i < len(more); i += 2 {
		if line != "{" {
			line += ","
		}
		line += quote(more[i].(string)) + ":" + quote(more[i+1].(string))
	}
	return slices.Concat(object{"message", line + "}"}, left(o, ev, nil))
}

// quote writes a JSON string in which only what has to be is escaped.
func quote(s string) string {
	short := strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\b", `\b`, "\f", `\f`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	var b strings.Builder
	for _, r := range short.Replace(s) {
		if r < 0x20 {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

func flatBody(o Options, ev Event) (body object) {
	// Names that will be added belong to Duo's own top level, or to us.
	ours := names(left(o, ev, nil))
	taken := map[string]bool{}
	for _, name := range ours {
		taken[name] = true
	}
	var has []string
	emit := func(name string, level int, value any) {
		if level == 1 && slices.Contains(ours, name) && !slices.Contains(has, name) {
			has = append(has, name)
			body = append(body, name, value)
			return
		}
		unique := name
		for n := 2; taken[unique]; n++ {
			unique = fmt.Sprint(name, "_", n)
		}
		taken[unique] = true
		body = append(body, unique, value)
	}
	flatten(without(ev.Raw, o.Exclude), "", 1, emit)
	return slices.Concat(body, left(o, ev, has))
}

func flatten(text json.RawMessage, prefix string, level int, emit func(name string, level int, value any)) {
	for _, m := range members(text) {
		name, within := prefix+m.name, members(m.value)
		isObject := bytes.TrimSpace(m.value)[0] == '{'
		nested := slices.ContainsFunc(within, func(m member) bool { return strings.Contains("{[", string(bytes.TrimSpace(m.value)[0])) })
		switch {
		case isObject && len(within) > 0 && level < 16 && len(name) <= 256:
			flatten(m.value, name+"_", level+1, emit)
		case isObject || nested:
			emit(name, level, oneLine(m.value))
		default:
			emit(name, level, tree(m.value, 1))
		}
	}
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
	case level > 16:
		return oneLine(text)
	}
	list := []any{}
	for _, m := range members(text) {
		if isObject {
			list = append(list, m.name)
		}
		list = append(list, tree(m.value, level+1))
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

// check is checkAs in format json with all fields.
func check(t *testing.T, e *Encoder, ev Event) {
	t.Helper()
	checkAs(t, e, Options{}, ev)
}

// checkAs encodes ev after a few bytes, compares it with the oracle, byte for byte but for format cef, and returns it.
func checkAs(t *testing.T, e *Encoder, o Options, ev Event) (at time.Time, body object) {
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
	if o.Format == CEF {
		checkCEF(t, o, ev, body)
		return at, body
	}
	if want := oracleAs(o, ev); !bytes.Equal(got, want) {
		wantAt, wantBody, err := parseEvent(want)
		// As text, since cmp takes for ever over trees that differ deep within.
		t.Fatalf("Append(%q) as %v at %v (%v), want %v (%v)\nbody (-want +got):\n%s\ngot  % x\nwant % x",
			clip(raw), o, at, ev.Time, wantAt, err, cmp.Diff(render(t, wantBody), render(t, body)), clip(got), clip(want))
	}
	return at, body
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
	for _, exclude := range [][]string{nil, {"host", "n", "v.a", "v.account_id", "v.host.a", "v.a.a", "v.b"}} {
		for f := range formats {
			o := Options{Format: Format(f), Exclude: exclude}
			t.Run(fmt.Sprint(o.Format, len(exclude)), func(t *testing.T) { testRandomRecords(t, o) })
		}
	}
}

func testRandomRecords(t *testing.T, o Options) {
	const seed = 20260213
	r := rand.New(rand.NewPCG(seed, 0))
	e := NewEncoder(o)
	for n := range 1000 {
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
		case 4:
			raw = `{"v": ` + strings.Repeat(`{"a":`, 28) + randomJSON(r, 6) + strings.Repeat("}", 28) + "}"
		}
		ev := Event{Raw: []byte(raw), Time: time.Unix(r.Int64N(1<<33)-1<<31, r.Int64N(1e9)), EventType: "activity", Host: "\xffhost", EventID: "id"}
		if r.IntN(2) == 0 {
			ev.AccountID = "DA00000000000000EX01"
		}
		checkAs(t, e, o, ev)
	}
}
