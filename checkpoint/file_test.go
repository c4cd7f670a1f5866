package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cursor is a value like those that the streams save.
type cursor struct {
	From string            `json:"from"`
	N    int               `json:"n"`
	Seen []string          `json:"seen,omitempty"`
	More map[string]string `json:"more,omitempty"`
}

var (
	saved  = time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC)
	sample = cursor{From: "2026-03-01T11:58:00.123456Z", N: 7, Seen: []string{"0a1b", `quote " and \`}, More: map[string]string{"a,b": "{[:]}"}}
)

// mustEncode returns the file as a build writes it that knows neither boots nor
// older cursors.
func mustEncode(t testing.TB, st Stream, c any) []byte {
	t.Helper()
	k, err := newKept(saved, c)
	if err != nil {
		t.Fatal(err)
	}
	data, err := encode(st.canonical(), "", k, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// withOlder returns the file of the sample with an older cursor beside it.
func withOlder(t *testing.T, older any) string {
	t.Helper()
	k, err := newKept(saved, sample)
	o, olderErr := newKept(saved, older)
	if err := errors.Join(err, olderErr); err != nil {
		t.Fatal(err)
	}
	data, err := encode(auth.canonical(), "one", k, &o)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestFileLooksLike(t *testing.T) {
	const want = `{
  "version": 1,
  "stream": {
    "host": "api-1.example.com",
    "account": "self",
    "log": "authentication"
  },
  "saved_at": "2026-03-01T12:00:00.123Z",
  "checksum": "crc32c:38484214",
  "cursor": {
    "from": "2026-03-01T11:58:00.123456Z",
    "n": 7,
    "seen": ["0a1b","quote \" and \\"],
    "more": {"a,b":"{[:]}"}
  }
}
`
	got := mustEncode(t, auth, sample)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	var back cursor
	f, err := decode(got, auth.canonical(), &back)
	if err != nil || !f.SavedAt.Equal(saved) {
		t.Errorf("decode: saved %v, error %v", f.SavedAt, err)
	}
	if diff := cmp.Diff(sample, back); diff != "" {
		t.Errorf("cursor (-want +got):\n%s", diff)
	}
}

func TestFileWithAnOlderCursor(t *testing.T) {
	const want = `
  "checksum": "crc32c:83a56a17",
  "cursor": 2,
  "older": {"saved_at":"2026-03-01T12:00:00.123Z","checksum":"crc32c:90f599e3","cursor":1}
}
`
	k, _ := newKept(saved.Add(time.Minute), 2)
	o, _ := newKept(saved, 1)
	data, err := encode(auth.canonical(), "b007", k, &o)
	if err != nil || !strings.HasSuffix(string(data), want) || !strings.Contains(string(data), `"boot": "b007",`) {
		t.Errorf("error %v, file %s, want it to end with %s", err, data, want)
	}
	var n int
	f, err := decode(data, auth.canonical(), &n)
	if err != nil || n != 2 || f.Boot != "b007" {
		t.Fatalf("decoded %d, boot %q, error %v", n, f.Boot, err)
	}
	if diff := cmp.Diff(&o, f.Older); diff != "" {
		t.Errorf("older (-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := string(mustEncode(t, auth, sample))
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the file", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	tests := []struct{ name, data, want string }{
		{"empty", "", "torn"},
		{"cut", good[:len(good)/2], "torn"},
		{"zeroed", string(make([]byte, len(good))), "torn"},
		{"two of them", good + good, "torn"},
		{"newer", replace(`"version": 1`, `"version": 2`), "version 2: this build reads version 1"},
		{"newer, other shape", `{"version": 2, "stream": 5}`, "version 2"},
		{"no version", `{}`, "version 0"},
		{"another host", replace("api-1", "api-2"), "another stream"},
		{"another account", replace("self", "DAXXXXXXXXXXXXXXXXXX"), "another stream"},
		{"another log", replace("authentication", "activity"), "another stream"},
		{"one digit changed", replace(`"n": 7`, `"n": 8`), "changed or damaged"},
		{"no cursor", `{"version": 1, "stream": {"host": "api-1.example.com", "account": "self", "log": "authentication"}}`, "no cursor"},
		{"cursor null", replace(good[strings.Index(good, `"cursor"`):], `"cursor": null}`), "no cursor"},
		{"cursor of another kind", string(mustEncode(t, auth, []int{1})), "its cursor cannot be used"},
		{"older cursor of another kind", withOlder(t, []int{1}), "its older cursor cannot be used"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			into := cursor{From: "before"}
			_, err := decode([]byte(tt.data), auth.canonical(), &into)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("decode: got error %v, want one with %q", err, tt.want)
			}
			if diff := cmp.Diff(cursor{From: "before"}, into); diff != "" {
				t.Errorf("a refused file changed the value (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, c := range map[string]any{
		"null":     nil,
		"not JSON": make(chan int),
		"too long": strings.Repeat("x", maxFile),
	} {
		k, err := newKept(saved, c)
		if err == nil {
			_, err = encode(auth, "", k, nil)
		}
		if err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, compact := range []string{
		`1`, `12`, `-1.5e3`, `true`, `""`, `"{"`, `"a\\"`, `{}`, `[]`, `[[]]`, `[{}]`, `{"a":{}}`, `{"a":[],"b":{"c":[1,2]},"d":":,"}`, `["\"]",[",",{}]]`,
	} {
		got := spread(nil, []byte(compact))
		var back bytes.Buffer
		if err := json.Compact(&back, got); err != nil || back.String() != compact {
			t.Errorf("spread(%s) = %s: not the same JSON (%v)", compact, got, err)
		}
	}
}

// FuzzRead: the reader never panics, leaves the value alone when it refuses, and what it accepts it has understood. Any
// JSON at all comes back as it went in.
func FuzzRead(f *testing.F) {
	good := mustEncode(f, auth, sample)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(bytes.Replace(good, []byte(`"n": 7`), []byte(`"n": 70000000000000000000000`), 1))
	f.Add(mustEncode(f, auth, []string{"x"}))
	f.Add([]byte(`{"version":1,"cursor":{}}`))
	f.Add(bytes.Replace(good, []byte("\n}\n"), []byte(`,"older":{"cursor":[1]}}`), 1))
	f.Add([]byte(`[{"a":[1,"\\\"}"]},-1.5e3,[],{}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := json.RawMessage(`"before"`)
		raw := before
		if _, err := decode(data, auth.canonical(), &raw); err == nil {
			roundTrip(t, raw)
		} else if string(raw) != string(before) {
			t.Fatalf("refused (%v), yet the value is now %s", err, raw)
		}
		if json.Valid(data) && strings.TrimSpace(string(data)) != "null" {
			roundTrip(t, data)
		}
	})
}

func roundTrip(t *testing.T, raw json.RawMessage) {
	t.Helper()
	want, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	var got json.RawMessage
	if _, err := decode(mustEncode(t, auth, raw), auth.canonical(), &got); err != nil || string(got) != string(want) {
		t.Fatalf("cursor %s came back as %s, error %v", want, got, err)
	}
}

// BenchmarkEncode: a cursor of about 1 MB. What is more than json.Marshal is this package's.
func BenchmarkEncode(b *testing.B) {
	c := bigCursor()
	b.ReportAllocs()
	for b.Loop() {
		mustEncode(b, auth, c)
	}
}

// bigCursor returns one of about 1 MB in JSON.
func bigCursor() cursor {
	c := cursor{From: "2026-03-01T11:58:00Z"}
	for range 50_000 {
		c.Seen = append(c.Seen, "0123456789abcdef")
	}
	return c
}
