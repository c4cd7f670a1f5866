package record

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRaw(t *testing.T) {
	const more = `"eventtype":"authentication","host":"api-00000000.duosecurity.com","event_id":"340a23e3-0123456789abcdef"`
	deep := `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)
	tests := []struct{ name, json, want string }{
		{"empty", ` { } `, `{` + more + `}`},
		{"white space", "{ \"a b\" :\r\n[ 1 , { \"c\" : \" d\\n \" } ]\t}", `{"a b":[1,{"c":" d\n "}],` + more + `}`},
		{"as Duo wrote it", `{"\u0061":"\u00fc\/ü\ud83d\udd11","n":[1.50,-0,1E400,18446744073709551616]}`, `{"\u0061":"\u00fc\/ü\ud83d\udd11","n":[1.50,-0,1E400,18446744073709551616],` + more + `}`},
		{"not UTF-8", "{\"a\xff\":\"\xe2\x82\"}", "{\"a\uFFFD\":\"\uFFFD\uFFFD\"," + more + "}"},
		{"lone surrogates", `{"\uDD11":"\ud83d\u0041\ud83d\ud83d\udd11\\ud83d"}`, "{\"\uFFFD\":\"\uFFFD\\u0041\uFFFD\\ud83d\\udd11\\\\ud83d\"," + more + `}`},
		{"Duo's host wins", `{"\u0068ost":null,"event_id":{}}`, `{"\u0068ost":null,"event_id":{},"eventtype":"authentication"}`},
		{"twice", `{"a":1,"a":2}`, `{"a":1,"a":2,` + more + `}`},
		{"deep", deep + "}", deep + "," + more + "}"},
		{"a list", "[ 1,\n\"a b\" ]", `[1,"a b"]`},
		{"broken", "{\"a\":\n\"\x00\u2028é\xff", "{\"a\": \"  é\uFFFD"},
		{"trailing data", `{} {}`, `{} {}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := bodyAs(t, Options{Format: Raw}, event(tt.json))
			if diff := cmp.Diff(append(object{"message", tt.want}, addedBy...), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRawSaysWhatDuoSaid reads message with encoding/json: it holds what the record holds.
func TestRawSaysWhatDuoSaid(t *testing.T) {
	e := NewEncoder(Options{Format: Raw})
	for _, log := range logs {
		for _, raw := range readRecords(t, log) {
			_, body := checkAs(t, e, Options{Format: Raw}, event(string(raw)))
			want, got := numbers(t, string(raw)), numbers(t, body[1].(string))
			for i := 0; i < len(addedBy); i += 2 {
				name := addedBy[i].(string)
				if _, has := want[name]; !has {
					want[name] = addedBy[i+1]
				}
			}
			if !reflect.DeepEqual(want, got) {
				t.Errorf("message %q of %q", body[1], raw)
			}
		}
	}
}

// numbers reads an object and leaves its numbers as they are written.
func numbers(t *testing.T, text string) (o map[string]any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
}
