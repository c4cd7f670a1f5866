package flbtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stamp is the EventTime 1700000000.000000007, body {"a":1}.
const (
	stamp = "\xd7\x00\x65\x53\xf1\x00\x00\x00\x00\x07"
	body  = "\x81\xa1a\x01"
)

func frame(buffer string) string {
	n := len(buffer)
	return string([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + buffer
}

// delivered puts content where the host of this kind would.
func delivered(t *testing.T, kind Kind, content string) *Reader {
	t.Helper()
	dir := t.TempDir()
	name := map[Kind]string{CHost: "a.msgpack", FluentBit: "a"}[kind]
	if err := os.MkdirAll(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "out", name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return NewReader(kind, dir, "a")
}

func bodies(records []Record) string {
	var all []string
	for _, r := range records {
		all = append(all, string(r.JSON))
	}
	return strings.Join(all, " ")
}

func TestFrames(t *testing.T) {
	record := func(value string) string { return frame("\x92" + stamp + "\x81\xa1a" + value) }
	tests := []struct {
		name, content, want, err string
	}{
		{"plain", frame("\x92" + stamp + body), `{"a":1}`, ""},
		{"with metadata", frame("\x92\x92" + stamp + "\x80" + body), `{"a":1}`, ""},
		{"ext 8 time", frame("\x92\xc7\x08" + stamp[1:] + body), `{"a":1}`, ""},
		{"two in a frame, one in the next", frame(strings.Repeat("\x92"+stamp+body, 2)) + frame("\x92"+stamp+"\x80"), `{"a":1} {"a":1} {}`, ""},
		{"torn frame", frame("\x92"+stamp+body) + frame("\x92" + stamp + body)[:9], `{"a":1}`, ""},
		{"keys in order, twice", frame("\x92" + stamp + "\x83\xa1z\x01\xa1a\x02\xa1z\x03"), `{"z":1,"a":2,"z":3}`, ""},
		{"negative fixint", record("\xff"), `{"a":-1}`, ""},
		{"uint 8", record("\xcc\xff"), `{"a":255}`, ""},
		{"uint 64", record("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), `{"a":18446744073709551615}`, ""},
		{"int 8", record("\xd0\x80"), `{"a":-128}`, ""},
		{"int 64", record("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), `{"a":-9223372036854775808}`, ""},
		{"float 32", record("\xca\x3f\xc0\x00\x00"), `{"a":1.5}`, ""},
		{"float 64", record("\xcb\x40\x00\x00\x00\x00\x00\x00\x00"), `{"a":2.0}`, ""},
		{"nil, booleans", record("\x93\xc0\xc2\xc3"), `{"a":[null,false,true]}`, ""},
		{"str 8", record("\xd9\x02\"\n"), `{"a":"\"\n"}`, ""},
		{"str 16, not UTF-8", record("\xda\x00\x01\xff"), "{\"a\":\"\ufffd\"}", ""},
		{"bin 8", record("\xc4\x01x"), `{"a":"x"}`, ""},
		{"array 16, map 32", record("\xdc\x00\x01\xdf\x00\x00\x00\x01\xa1b\x01"), `{"a":[{"b":1}]}`, ""},
		{"24 levels", record(strings.Repeat("\x91", 22) + "\xa0"), `{"a":` + strings.Repeat("[", 22) + `""` + strings.Repeat("]", 22) + "}", ""},
		{"26 levels", record(strings.Repeat("\x91", 24) + "\xa0"), "", "nested more than 24 levels"},
		{"string too long", record("\xd9\x05abc"), "", "unexpected EOF"},
		{"array too long", record("\xdd\xff\xff\xff\xff"), "", "unexpected EOF"},
		{"extension", record("\xd4\x01\x00"), "", "byte 0xd4"},
		{"not a number", record("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), "", "NaN"},
		{"number as key", frame("\x92" + stamp + "\x81\x01\x01"), "", "key 1 is not a string"},
		{"body no map", frame("\x92" + stamp + "\x90"), "", "body is not a map"},
		{"metadata no map", frame("\x92\x92" + stamp + "\x01" + body), "", "metadata is not a map"},
		{"array of one", frame("\x91" + stamp), "", "array of two"},
		{"time an integer", frame("\x92\x01" + body), "", "not an EventTime"},
		{"group marker", frame("\x92\xd7\x00\xff\xff\xff\xfe\x00\x00\x00\x00" + body), "", "does not take it for a time"},
		{"a second of nanoseconds", frame("\x92\xd7\x00\x00\x00\x00\x01\x3b\x9a\xca\x00" + body), "", "does not take it for a time"},
		{"good, then bad", frame("\x92"+stamp+body) + frame("\x92\x01"+body), `{"a":1}`, "a.msgpack:2: malformed msgpack"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			records, err := delivered(t, CHost, tt.content).Next()
			if diff := cmp.Diff(tt.want, bodies(records)); diff != "" {
				t.Error("(-want +got):\n", diff)
			}
			if (err != nil) != (tt.err != "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			for _, r := range records {
				if want := time.Unix(1700000000, 7).UTC(); !r.Time.Equal(want) {
					t.Errorf("time %v, want %v", r.Time, want)
				}
			}
		})
	}
}

func TestLines(t *testing.T) {
	const one = `a: [1700000000.000000007, {"a":1}]`
	tests := []struct {
		name, content, want string
		torn                int
	}{
		{"whole", one + "\n" + one + "\n", `{"a":1} {"a":1}`, 0},
		{"end is missing", one + "\n" + one, `{"a":1}`, 0},
		{"blanks and escapes", `a: [1.000000000, { "u": "\u00e4\/", "n": 12345678901234567890 }]` + "\n", `{"u":"ä/","n":12345678901234567890}`, 0},
		{"torn", one[:20] + one + "\n", `{"a":1}`, 1},
		{"torn before its newline", one + one + "\n", `{"a":1} {"a":1}`, 0},
		{"torn twice", one[:20] + one[:25] + one + "\n", `{"a":1}`, 1},
		{"torn, and nothing behind it", one[:20] + "\n" + one + "\n", `{"a":1}`, 1},
		{"the prefix in a string", `a: [1.000000000, {"m":"a: [1.000000000, {}]"}]` + "\n", `{"m":"a: [1.000000000, {}]"}`, 0},
		{"torn in a string with the prefix", `a: [1.000000000, {"m":"a: [1.000000000, {}] ` + one + "\n", `{"a":1}`, 1},
		{"foreign", "nonsense\n" + one + "\n", `{"a":1}`, 1},
		{"time without nanoseconds", "a: [1, {}]\n", "", 1},
		{"body is no object", "a: [1.000000000, 1]\n", "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reader := delivered(t, FluentBit, tt.content)
			records, err := reader.Next()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, bodies(records)); diff != "" {
				t.Error("(-want +got):\n", diff)
			}
			if reader.Torn() != tt.torn {
				t.Errorf("Torn() = %d, want %d", reader.Torn(), tt.torn)
			}
		})
	}
}

// Wherever a kill cuts the file, what was whole before it and all after it are
// read, and nothing else.
func TestTornAnywhere(t *testing.T) {
	lines := func(from, to int) (s string) {
		for n := from; n < to; n++ {
			s += fmt.Sprintf("a: [170000000%d.000000000, {\"n\":%d,\"m\":\"a: [1.0, {}]\"}]\n", n, n)
		}
		return s
	}
	before, after := lines(0, 3), lines(3, 5)
	for cut := range len(before) + 1 {
		reader := delivered(t, FluentBit, before[:cut]+after)
		records, err := reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		whole := strings.Count(before[:cut], "\n")
		if strings.HasSuffix(before[:cut], `"}]`) {
			whole++ // only its newline is missing
		}
		var got []string
		for _, r := range records {
			got = append(got, r.String("n"))
		}
		want := append([]string{"0", "1", "2"}[:whole:whole], "3", "4")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", cut, diff)
		}
		if torn := reader.Torn(); torn > 1 {
			t.Fatalf("cut at %d: Torn() = %d", cut, torn)
		}
	}
}

// A reader returns each record once, however the file grows.
func TestReaderGrows(t *testing.T) {
	content := map[Kind]string{
		CHost:     frame("\x92"+stamp+body) + frame("\x92"+stamp+"\x80"),
		FluentBit: "a: [1.000000000, {\"a\":1}]\na: [1.000000000, {}]\n",
	}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			reader := delivered(t, kind, "")
			var got []Record
			for i := range len(content[kind]) {
				f, err := os.OpenFile(reader.path, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = f.WriteString(content[kind][i : i+1])
				_ = f.Close()
				more, err := reader.Next()
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, more...)
			}
			if bodies(got) != `{"a":1} {}` || got[0].Line != 1 || got[1].Line != 2 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestRecordString(t *testing.T) {
	r := Record{JSON: []byte(`{"s":"a\"b","n":12345678901234567890,"o":{"s":2},"s":"second","null":null}`)}
	for key, want := range map[string]string{
		"s": `a"b`, "n": "12345678901234567890", "o": `{"s":2}`, "null": "null", "absent": "",
	} {
		if got := r.String(key); got != want {
			t.Errorf("String(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestNothingDelivered(t *testing.T) {
	for _, kind := range kinds {
		if records, err := Records(kind, t.TempDir(), "a"); len(records) > 0 || err != nil {
			t.Errorf("%v: %v, %v", kind, records, err)
		}
	}
}
