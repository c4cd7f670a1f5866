package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
)

// event is an event of raw with the usual surroundings.
func event(raw string) Event {
	return Event{
		Raw:       []byte(raw),
		Time:      time.Unix(1771008980, 351346000),
		EventType: "authentication",
		Host:      "api-00000000.duosecurity.com",
		EventID:   "340a23e3-0123456789abcdef",
	}
}

// addedBy are the names and values that event adds.
var addedBy = object{
	"eventtype", "authentication",
	"host", "api-00000000.duosecurity.com",
	"event_id", "340a23e3-0123456789abcdef",
}

// body encodes ev, compares it with the oracle and returns its map.
func body(t *testing.T, ev Event) object {
	t.Helper()
	return bodyAs(t, Options{}, ev)
}

func bodyAs(t *testing.T, o Options, ev Event) object {
	t.Helper()
	_, body := checkAs(t, NewEncoder(o), o, ev)
	return body
}

func TestValues(t *testing.T) {
	tests := []struct {
		name, json string
		want       any
	}{
		{"null", `null`, nil},
		{"true", `true`, true},
		{"false", `false`, false},
		{"zero", `0`, uint64(0)},
		{"minus zero", `-0`, uint64(0)},
		{"minus zero, a float", `-0.0`, math.Copysign(0, -1)},
		{"smallest int64", `-9223372036854775808`, int64(math.MinInt64)},
		{"below int64", `-9223372036854775809`, "-9223372036854775809"},
		{"largest int64", `9223372036854775807`, uint64(math.MaxInt64)},
		{"largest uint64", `18446744073709551615`, uint64(math.MaxUint64)},
		{"above uint64", `18446744073709551616`, "18446744073709551616"},
		{"fraction of zero", `1.0`, 1.0},
		{"exponent", `1E2`, 100.0},
		{"largest float64", `1.7976931348623157e308`, math.MaxFloat64},
		{"above float64", `1e400`, "1e400"},
		{"below float64", `-1E+400`, "-1E+400"},
		{"too small for float64", `1e-400`, 0.0},
		{"number in a string", `"1.0"`, "1.0"},
		{"empty string", `""`, ""},
		{"escapes", `"\"\\\/\b\f\n\r\t\u0000\u00fc"`, "\"\\/\b\f\n\r\t\x00ü"},
		{"surrogate pair", `"\ud83d\udd11"`, "🔑"},
		{"lone high surrogate", `"a\ud83db"`, "a\uFFFDb"},
		{"lone low surrogate", `"\udd11"`, "\uFFFD"},
		{"reversed surrogates", `"\udd11\ud83d"`, "\uFFFD\uFFFD"},
		{"high surrogate before a pair", `"\ud83d\ud83d\udd11"`, "\uFFFD🔑"},
		{"invalid UTF-8", "\"a\xff\xe2\x82z\"", "a\uFFFD\uFFFD\uFFFDz"},
		{"valid UTF-8", `"日本 ü 🔑"`, "日本 ü 🔑"},
		{"DEL and U+2028", "\"\x7f\u2028\"", "\x7f\u2028"},
		{"empty list", `[ ]`, []any{}},
		{"empty object", `{ }`, object{}},
		{"list", `[1,"a",null,[true]]`, []any{uint64(1), "a", nil, []any{true}}},
		{"object in its order", `{"b":1,"a":{"d":2,"c":3}}`, object{"b", uint64(1), "a", object{"d", uint64(2), "c", uint64(3)}}},
		{"duplicate names", `{"a":1,"b":2,"a":{"a":3}}`, object{"a", uint64(1), "b", uint64(2), "a", object{"a", uint64(3)}}},
		{"white space", "\n{\t\"a\"\r: [ 1 , 2 ] }\n", object{"a", []any{uint64(1), uint64(2)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := body(t, event(`{"v":`+tt.json+`}`))
			want := append(object{"v", tt.want}, addedBy...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if f, ok := tt.want.(float64); ok && math.Signbit(f) != math.Signbit(got[1].(float64)) {
				t.Errorf("got %v, want %v", got[1], f)
			}
		})
	}
}

// TestInteger covers both sides of every boundary between msgpack's integer types; check compares the bytes with codec's.
func TestInteger(t *testing.T) {
	e := NewEncoder(Options{})
	for bits := range 64 {
		for _, near := range []int64{-2, -1, 0, 1} {
			for _, sign := range []int64{1, -1} {
				check(t, e, event(fmt.Sprintf(`{"v":%d}`, sign*(1<<bits+near))))
			}
		}
	}
}

// TestSizes covers both sides of every boundary between the heads of strings, lists and maps.
func TestSizes(t *testing.T) {
	repeat := func(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", max(n, 0)), ",") }
	e := NewEncoder(Options{})
	for _, n := range []int{0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			check(t, e, event("{"+repeat(`"k":0`, n-len(addedBy)/2)+"}"))
			check(t, e, event(`{"before":1,"v":{`+repeat(`"k":0`, n)+`},"after":2}`))
			check(t, e, event(`{"v":[`+repeat("0", n)+`],"after":2}`))
			check(t, e, event(`{"v":"`+strings.Repeat("x", n)+`"}`))
			check(t, e, event(`{"v":"`+strings.Repeat(`\n`, n)+`"}`))
			check(t, e, event(`{"`+strings.Repeat("x", n)+`":"`+strings.Repeat("\xff", n)+`"}`))
		})
	}
	check(t, e, event("{"+repeat(`"k":{}`, 70_000)+"}"))
}

func TestNesting(t *testing.T) {
	for _, kind := range []struct{ name, open, close, deepest string }{
		{"objects", `{ "a" :`, "}", `{"a":1}`},
		{"lists", "[ ", "]", "[1]"},
	} {
		// Of n levels the outermost is the record.
		nested := func(n int) string {
			return `{"v":` + strings.Repeat(kind.open, n-1) + "1" + strings.Repeat(kind.close, n-1) + "}"
		}
		for _, n := range []int{1, 15, 16, 17, 18, 100, 10_000} {
			t.Run(fmt.Sprint(kind.name, n), func(t *testing.T) {
				v := any(body(t, event(nested(n))))
				for range min(n, 16) {
					switch level := v.(type) {
					case object:
						v = level[1]
					case []any:
						v = level[0]
					default:
						t.Fatalf("got %T, want an object or a list", v)
					}
				}
				text := strings.NewReplacer(" ", "").Replace(strings.Repeat(kind.open, max(n-16, 0)) + "1" + strings.Repeat(kind.close, max(n-16, 0)))
				want := any(text)
				if n <= 16 {
					want = uint64(1)
				}
				if diff := cmp.Diff(want, v); diff != "" {
					t.Errorf("at level 16 (-want +got):\n%s", diff)
				}
			})
		}
		for _, n := range []int{10_001, 20_000} {
			t.Run(fmt.Sprint(kind.name, n), func(t *testing.T) {
				want := append(object{"message", nested(n)}, addedBy...)
				if diff := cmp.Diff(want, body(t, event(nested(n)))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestDeepText shows what becomes of the text of a part that is nested too deep.
func TestDeepText(t *testing.T) {
	part := "{ \"a\\u00fc\\ud83d\" : [ 1.50 , -0, 1e400 ] ,\n\"b\":\"\xff x\" , \"b\": { } }"
	got := any(body(t, event(`{"v":`+strings.Repeat("[", 15)+part+strings.Repeat("]", 15)+"}"))[1])
	for range 15 {
		got = got.([]any)[0]
	}
	want := any(`{"a\u00fc` + "\uFFFD" + `":[1.50,-0,1e400],"b":"` + "\uFFFD" + ` x","b":{}}`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddedKeys(t *testing.T) {
	tests := []struct {
		name, json, account string
		want                object
	}{
		{"empty record", `{}`, "", addedBy},
		{"with an account", `{}`, "DA01", append(addedBy[:6:6], "account_id", "DA01")},
		{"Duo's eventtype wins", `{"eventtype":"x"}`, "", append(object{"eventtype", "x"}, addedBy[2:]...)},
		{"even null wins", `{"host":null,"a":1}`, "", object{"host", nil, "a", uint64(1), "eventtype", "authentication", "event_id", "340a23e3-0123456789abcdef"}},
		{"a name written with an escape", `{"\u0065vent_id":1}`, "", append(object{"event_id", uint64(1)}, addedBy[:4]...)},
		{"all of them, twice", `{"account_id":1,"event_id":2,"host":3,"eventtype":4,"host":5}`, "DA01",
			object{"account_id", uint64(1), "event_id", uint64(2), "host", uint64(3), "eventtype", uint64(4), "host", uint64(5)}},
		{"a value is no name", `{"a":"host"}`, "", append(object{"a", "host"}, addedBy...)},
		{"below the top level", `{"a":{"host":1},"b":[{"event_id":2}]}`, "",
			append(object{"a", object{"host", uint64(1)}, "b", []any{object{"event_id", uint64(2)}}}, addedBy...)},
		{"another case is another name", `{"Host":1,"host ":2}`, "", append(object{"Host", uint64(1), "host ", uint64(2)}, addedBy...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := event(tt.json)
			ev.AccountID = tt.account
			if diff := cmp.Diff(tt.want, body(t, ev)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAddedValuesAreUTF8(t *testing.T) {
	ev := Event{Raw: []byte(`{}`), EventType: "a\xff", Host: "\xe2\x82", EventID: "ü\xf0", AccountID: "\xc3("}
	want := object{"eventtype", "a\uFFFD", "host", "\uFFFD", "event_id", "ü\uFFFD", "account_id", "\uFFFD("}
	if diff := cmp.Diff(want, body(t, ev)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOddRecordsGoOutAsMessage(t *testing.T) {
	tests := []struct{ name, raw, message string }{
		{"nothing", "", ""},
		{"white space", " \n", " \n"},
		{"null", "null", "null"},
		{"a string", `"text"`, `"text"`},
		{"a list", `[{"txid":"1"}]`, `[{"txid":"1"}]`},
		{"cut off in a name", `{"a":1,"b`, `{"a":1,"b`},
		{"cut off before a value", `{"a":`, `{"a":`},
		{"cut off in a list", `{"a":[1,`, `{"a":[1,`},
		{"cut off before the end", `{"a":1`, `{"a":1`},
		{"cut off below the nesting limit", `{"a":` + strings.Repeat("[", 50), `{"a":` + strings.Repeat("[", 50)},
		{"name without a value", `{"a"}`, `{"a"}`},
		{"name that is a number", `{1:2}`, `{1:2}`},
		{"name that is a list", `{[]:2}`, `{[]:2}`},
		{"trailing comma", `{"a":1,}`, `{"a":1,}`},
		{"missing comma", `{"a":1 "b":2}`, `{"a":1 "b":2}`},
		{"wrong bracket", `{"a":[1}}`, `{"a":[1}}`},
		{"single quotes", `{'a':1}`, `{'a':1}`},
		{"NaN", `{"a":NaN}`, `{"a":NaN}`},
		{"leading zero", `{"a":01}`, `{"a":01}`},
		{"control character", "{\"a\":\"\x01\"}", "{\"a\":\"\x01\"}"},
		{"bad escape", `{"a":"\x41"}`, `{"a":"\x41"}`},
		{"trailing data", `{"a":1} {"b":2}`, `{"a":1} {"b":2}`},
		{"trailing bracket", `{"a":1}}`, `{"a":1}}`},
		{"byte order mark", "\uFEFF{}", "\uFEFF{}"},
		{"invalid UTF-8", "{\"a\":\"\xff\xfe\"", "{\"a\":\"\uFFFD\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := event(tt.raw)
			ev.AccountID = "DA01"
			want := append(object{"message", tt.message}, addedBy...)
			want = append(want, "account_id", "DA01")
			if diff := cmp.Diff(want, body(t, ev)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPanicGoesOutAsMessage(t *testing.T) {
	e := NewEncoder(Options{})
	sound := e.body
	e.body = func(e *Encoder, dst []byte, ev Event) []byte {
		e.in.Enter()
		_ = append(dst, "half an event"...)
		panic("no such record")
	}
	_, got, err := parseEvent(e.Append(make([]byte, 0, 1000), event(`{"a":1}`)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(object{"message", `{"a":1}`}, addedBy...), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	e.body = sound
	check(t, e, event(`{"a":1}`))
}

func TestEventTime(t *testing.T) {
	tests := []struct {
		name     string
		in, want time.Time
	}{
		{"microseconds", time.Date(2026, 2, 13, 18, 56, 20, 351346000, time.UTC), time.Unix(1771008980, 351346000)},
		{"another zone", time.Date(2026, 2, 13, 20, 56, 20, 1, time.FixedZone("", 7200)), time.Unix(1771008980, 1)},
		{"last nanosecond", time.Unix(1771008980, 999_999_999), time.Unix(1771008980, 999_999_999)},
		{"1970", time.Unix(0, 5), time.Unix(0, 5)},
		{"just before 1970", time.Unix(0, -1), time.Unix(0, 0)},
		{"no time", time.Time{}, time.Unix(0, 0)},
		{"past 2038", time.Unix(1<<31, 7), time.Unix(1<<31, 7)},
		{"largest", time.Unix(0xFFFFFFFD, 999_999_999), time.Unix(0xFFFFFFFD, 999_999_999)},
		{"group marker", time.Unix(0xFFFFFFFE, 1), time.Unix(0xFFFFFFFD, 0)},
		{"past 32 bits", time.Unix(1<<32, 0), time.Unix(0xFFFFFFFD, 0)},
		{"far future", time.Unix(1<<60, 0), time.Unix(0xFFFFFFFD, 0)},
	}
	e := NewEncoder(Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := parseEvent(e.Append(nil, Event{Raw: []byte(`{}`), Time: tt.in}))
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want.UTC())
			}
		})
	}
}

// TestManyEventsInOneBuffer reads back a buffer that took sound and odd events in turn.
func TestManyEventsInOneBuffer(t *testing.T) {
	e := NewEncoder(Options{})
	var got, want []byte
	for _, log := range logs {
		for _, raw := range readRecords(t, log) {
			for _, text := range []string{string(raw), string(raw[:len(raw)/2]), string(raw)} {
				got = e.Append(got, event(text))
				want = append(want, oracle(event(text))...)
			}
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes differ from the oracle's %d", len(got), len(want))
	}
}

// TestEncodersShareNothing lets the race detector see two streams at work.
func TestEncodersShareNothing(t *testing.T) {
	var wg sync.WaitGroup
	records := readRecords(t, "authentication")
	for range 4 {
		wg.Go(func() {
			for _, f := range []Format{JSON, Flat, Raw} {
				o := Options{Format: f, Exclude: []string{"user.groups"}}
				e := NewEncoder(o)
				for _, raw := range records {
					if ev := event(string(raw)); !bytes.Equal(e.Append(nil, ev), oracleAs(o, ev)) {
						t.Errorf("Append(%q) as %v differs from the oracle", clip(raw), f)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestLargeRecord compares records of more than 17 MB without the oracle, which is slow.
func TestLargeRecord(t *testing.T) {
	const size = 17 << 20
	text, count := strings.Repeat("x", size), size/100
	item := `{"text":"` + strings.Repeat("y", 100) + `"}`
	list := []any{}
	for range count {
		list = append(list, object{"text", strings.Repeat("y", 100)})
	}
	tests := []struct {
		name, json string
		want       object
	}{
		{"one string", `{"v":"` + text + `"}`, object{"v", text}},
		{"one string with an escape", `{"v":"` + text + `\n"}`, object{"v", text + "\n"}},
		{"many objects", `{"v":[` + strings.Repeat(item+",", count-1) + item + `]}`, object{"v", list}},
		{"broken", `{"v":"` + text, object{"message", `{"v":"` + text}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := parseEvent(NewEncoder(Options{}).Append(nil, event(tt.json)))
			if err != nil {
				t.Fatal(err)
			}
			if want := append(tt.want, addedBy...); !reflect.DeepEqual(want, got) {
				t.Error("the event differs from the record") // a diff of this size helps nobody
			}
		})
	}
}

// TestKeepsNothing proves that an encoder at rest does not pin the page that its last record was a part of.
func TestKeepsNothing(t *testing.T) {
	for f := range formats {
		for _, exclude := range [][]string{nil, {"b"}} {
			e := NewEncoder(Options{Format: Format(f), Exclude: exclude})
			for _, raw := range []string{`{"a":"b"}`, `{"a":"b"`, `{"a\n":["b"]}`, `{"a":1}2`} {
				page := encodeFromPage(e, raw)
				runtime.GC()
				if page.Value() != nil {
					t.Errorf("%v: after %s the encoder still holds the page", Format(f), raw)
				}
			}
			runtime.KeepAlive(e)
		}
	}
}

//go:noinline
func encodeFromPage(e *Encoder, raw string) weak.Pointer[[1 << 20]byte] {
	page := new([1 << 20]byte)
	ev := event("")
	ev.Raw = page[:copy(page[:], raw)]
	e.Append(nil, ev)
	return weak.Make(page)
}

// TestBuffersAreBounded proves that an encoder at rest holds little, however large the records were.
func TestBuffersAreBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	ev := event(`{"` + long + `\n":[{"a":"` + long + `"}],"result":"` + long + `","` + long + `":{"a":1}}`)
	for f := range formats {
		e := NewEncoder(Options{Format: Format(f), Exclude: []string{"a"}})
		e.Append(nil, ev)
		broken := ev
		broken.Raw = ev.Raw[:len(ev.Raw)-1]
		e.Append(nil, broken)
		held := cap(e.kept) + cap(e.name) + cap(e.part) + cap(e.line) + cap(e.packed) + cap(e.flat.path) + e.flat.size
		for _, v := range e.cef.values {
			held += cap(v)
		}
		if held > 6*maxKept {
			t.Errorf("%v: %d bytes held", Format(f), held)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 64<<10)
	for _, f := range []Format{JSON, Flat, Raw} {
		for _, exclude := range [][]string{nil, {"user.groups", "host"}} {
			e := NewEncoder(Options{Format: f, Exclude: exclude})
			for _, log := range logs {
				ev := event(string(readRecords(t, log)[0]))
				if n := testing.AllocsPerRun(100, func() { e.Append(dst, ev) }); n != 0 {
					t.Errorf("%v, %s: %v allocations an event, want 0", f, log, n)
				}
			}
		}
	}
}

func TestParseFormat(t *testing.T) {
	for f := range formats {
		want := Format(f)
		if got, err := ParseFormat(strings.ToUpper(want.String())); got != want || err != nil {
			t.Errorf("ParseFormat(%q): %v, %v", want, got, err)
		}
	}
	_, err := ParseFormat("xml")
	if want := `there is no such format; use json, flat, raw, cef`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// BenchmarkAppend takes an authentication record of 1.7 KB, compact, as it comes from Duo.
func BenchmarkAppend(b *testing.B) {
	var raw bytes.Buffer
	if err := json.Compact(&raw, readRecords(b, "authentication")[0]); err != nil {
		b.Fatal(err)
	}
	for f := range formats {
		for _, exclude := range [][]string{nil, {"access_device.epkey", "user.groups", "host"}} {
			o := Options{Format: Format(f), Exclude: exclude}
			name := o.Format.String()
			if exclude != nil {
				name += "-exclude"
			}
			b.Run(name, func(b *testing.B) {
				e, ev := NewEncoder(o), event(raw.String())
				var dst []byte
				b.SetBytes(int64(raw.Len()))
				b.ReportAllocs()
				for b.Loop() {
					dst = e.Append(dst[:0], ev)
				}
			})
		}
	}
}
