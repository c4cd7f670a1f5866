package scan

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
)

// token is what a walk finds: a name, a value that is no container, or what begins or ends one.
type token struct{ kind, text string }

// walk returns a text's tokens, and whether it is JSON and nothing else.
func walk(text []byte) (tokens []token, ok bool) {
	s := New(text)
	walkValue(&s, &tokens)
	return tokens, s.End()
}

func walkValue(s *Scanner, tokens *[]token) {
	kind := s.Kind()
	if kind != Object && kind != List {
		if value := s.Value(); !s.Bad() {
			*tokens = append(*tokens, token{string(kind), string(value)})
		}
		return
	}
	*tokens = append(*tokens, token{string(kind), string(kind)})
	for more := s.Enter(); more; more = s.Next(kind) {
		if kind == Object {
			if name := s.Name(); !s.Bad() {
				*tokens = append(*tokens, token{string(String), string(name)})
			}
		}
		walkValue(s, tokens)
	}
	if end := string(rune(Closing(kind))); !s.Bad() {
		*tokens = append(*tokens, token{end, end})
	}
}

var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// oracle is walk as jsontext sees it.
func oracle(text []byte) (tokens []token, ok bool) {
	dec := jsontext.NewDecoder(bytes.NewReader(text), lenient...)
	for {
		switch kind := dec.PeekKind(); kind {
		case '{', '[', '}', ']':
			if _, err := dec.ReadToken(); err != nil {
				return nil, false
			}
			tokens = append(tokens, token{string(rune(kind)), string(rune(kind))})
		default:
			value, err := dec.ReadValue()
			if err != nil {
				return tokens, errors.Is(err, io.EOF) && len(tokens) > 0
			}
			if dec.StackDepth() == 0 && len(tokens) > 0 {
				return nil, false // a second value
			}
			tokens = append(tokens, token{string(rune(kind)), string(value)})
		}
		if dec.StackDepth() == 0 {
			_, err := dec.ReadToken()
			return tokens, errors.Is(err, io.EOF)
		}
	}
}

// check compares a walk, token by token and value by value, with jsontext's, and holds the scanner to its promises.
func check(t *testing.T, text []byte) {
	t.Helper()
	got, ok := walk(text)
	want, wantOK := oracle(text)
	if ok != wantOK {
		t.Fatalf("%.200q: taken for JSON: %v, want %v", text, ok, wantOK)
	}
	s := New(text)
	value := s.Value()
	if s.End() != ok {
		t.Fatalf("%.200q: Value takes it for JSON: %v, want %v", text, s.End(), ok)
	}
	if !ok {
		return
	}
	if trimmed := bytes.Trim(text, " \t\r\n"); !bytes.Equal(value, trimmed) {
		t.Errorf("%.200q: value %.200q, want %.200q", text, value, trimmed)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(token{})); diff != "" {
		t.Errorf("%.200q: tokens (-want +got):\n%s", text, diff)
	}
}

var texts = []string{
	"", " ", "null", "nul", "nulll", "NULL", "true", "false", "fals", "truefalse", "null null", " \t\r\nnull \t\r\n", "\vnull", "\x00", "null\x00", "\ufeffnull",
	"0", "-0", "00", "01", "-01", "-00", "-", "+1", "1.", ".5", "1.5", "1.5.5", "1e", "1e+", "1e5", "1E-5", "1e400", "-1.25e+10", "1e5.5", "0x10", "0e0", "1 2", "--1", "-a", "1a", "12345678901234567890123",
	`""`, `"`, `"a`, `"a" "b"`, `"\`, `"\"`, `"\""`, `"\\"`, `"\/\b\f\n\r\t"`, `"\a"`, `"\u"`, `"\u12"`, `"\u123`, `"\u123g"`, `"\u00e9"`, `"\uD83D\uDD11"`, `"\ud800"`, `"\ud800\u0041"`,
	`"\udc00"`, "\"\xff\"", "\"\xe2\x82\"", "\"\xe2\x82", "\"é日🔑\"", "\"a\nb\"", "\"\x00\"", "\"\x1f\"", "\"\x7f\"", `"12345678"`, `"1234567"`, "\"1234567\x80\"", "\"1234567\x1f\"", `"1234567\n"`, `"!#[]^_"`,
	"{}", "[]", " { } ", " [ ] ", "{", "[", "}", "]", "{]", "[}", "[,]", "[1,]", "[,1]", "[1 2]", "[1,,2]", "{,}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a" 1}`, `{"a"::1}`, `{1:1}`, `{a:1}`, `{"a":1 "b":2}`,
	`{"a":1,"a":2}`, ` { "a" : [ 1 , { "b" : null } , "c" ] , "d" : { } } `, "{\"\xff\":1,\"\xfe\":2}", `[[[[]]],[{}],{"":[]}]`, `[1]]`, `{}}`, `[1],`, `{"a":1},`, `[true,false,null,-1.5e3,"x"]`, "[1\x00]", "[nul]", `{"a":tru}`,
	strings.Repeat("[", MaxLevels) + strings.Repeat("]", MaxLevels), strings.Repeat("[", MaxLevels+1) + strings.Repeat("]", MaxLevels+1),
	strings.Repeat(`{"a":`, MaxLevels) + "1" + strings.Repeat("}", MaxLevels), strings.Repeat(`{"a":`, MaxLevels+1) + "1" + strings.Repeat("}", MaxLevels+1),
	strings.Repeat("[", 100_000),
}

func TestScanner(t *testing.T) {
	for _, text := range texts {
		check(t, []byte(text))
		if len(text) < 1000 {
			check(t, []byte(`{"key": `+text+`, "k": [`+text+`]}`))
		}
	}
}

// TestPlain: a string stands for itself where reading it changes nothing but the quotes.
func TestPlain(t *testing.T) {
	for _, text := range texts {
		s := New([]byte(text))
		if s.Kind() != String {
			continue
		}
		literal := s.Value()
		if s.Bad() {
			continue
		}
		want := true
		for _, c := range literal {
			want = want && c < 0x80 && c != '\\'
		}
		if s.Plain() != want {
			t.Errorf("%s is plain: %v, want %v", text, s.Plain(), want)
		}
	}
}

// TestEnd: a text has ended where its one value has been passed.
func TestEnd(t *testing.T) {
	s := New([]byte(" [1] "))
	ends := func() bool { return s.End() }
	if kind := s.Kind(); ends() || !s.Enter() || ends() || s.Value() == nil || ends() || s.Next(kind) || !ends() {
		t.Error("End is not only at the end")
	}
	if s = New([]byte("[1")); !s.Enter() || s.Value() == nil || ends() {
		t.Error("a text ends within a list")
	}
	if s = New([]byte("1 1")); s.Value() == nil || ends() {
		t.Error("a text ends before its second value")
	}
	if s = New(nil); ends() {
		t.Error("an empty text ends before it is walked")
	}
}

func FuzzScanner(f *testing.F) {
	for _, text := range texts {
		if len(text) < 1000 {
			f.Add([]byte(text))
			f.Add([]byte(`{"key": ` + text + `, "k": [` + text + `]}`))
		}
	}
	f.Fuzz(check)
}

// BenchmarkValue passes an authentication record as Duo writes it, of 1.7 KB.
func BenchmarkValue(b *testing.B) {
	text := duotest.NewRecords("authentication", 1, time.Unix(1771008980, 0), time.Unix(1771008981, 0), 1)[0]
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s := New(text)
		if s.Value(); !s.End() {
			b.Fatal("not JSON")
		}
	}
}

// BenchmarkMany passes many different ones.
func BenchmarkMany(b *testing.B) {
	texts := duotest.NewRecords("authentication", 1, time.Unix(1771008980, 0), time.Unix(1771008981, 0), 1000)
	for b.Loop() {
		for _, text := range texts {
			s := New(text)
			if s.Value(); !s.End() {
				b.Fatal("not JSON")
			}
		}
	}
}
