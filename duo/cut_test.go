package duo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	gocmp "github.com/google/go-cmp/cmp"
)

// deep is JSON of n levels.
func deep(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }

// cutText is what cut makes of an answer.
func cutText(answer string, mayEnd bool) (string, *cutter, error) {
	c := &cutter{mayEnd: mayEnd}
	out, err := c.read(strings.NewReader(answer))
	return string(out), c, err
}

// What is cut is what no parser takes, and no more.
func TestCut(t *testing.T) {
	long := strings.Repeat("x", maxValue+10)
	for _, tc := range []struct {
		name, in, want string
		left           int
	}{
		{name: "a page", in: ` { "response" : { "items" : [ { "a" : [ 1e5 , { "b" : "\"]," } ] , "c":null } , 7 , "x" ] , "metadata" : { "next_offset" : [ "1" , 2 ] } } , "stat" : "OK" } `,
			want: `{"response":{"items":[{"a":[ 1e5 , { "b" : "\"]," } ],"c":null},7,"x"],"metadata":{ "next_offset" : [ "1" , 2 ] }},"stat":"OK"}`},
		{name: "a page of v1", in: `{"response":[{"a":{"b":[1]}},{}],"metadata":{}}`, want: `{"response":[{"a":{"b":[1]}},{}],"metadata":{}}`},
		{name: "empty", in: `{}`, want: `{}`},
		{name: "as deep as the parser goes", in: `{"response":[{"a":` + deep(maxLevels-3) + `}]}`, want: `{"response":[{"a":` + deep(maxLevels-3) + `}]}`},
		{name: "deeper", in: `{"response":[{"a":` + deep(maxLevels-2) + `,"b":1}]}`, want: `{"response":[{"a":"` + deep(maxLevels-2) + `","b":1}]}`},
		{name: "a large string", in: `{"response":{"items":[{"id":"a","s":"` + long + `","b":1}]}}`,
			want: `{"response":{"items":[{"id":"a","s":"` + long[:maxValue-1] + `","b":1}]}}`, left: 10 + 2},
		{name: "a large name", in: `{"response":{"items":[{"` + long + `":1}]}}`, want: `{"response":{"items":[{"` + long[:maxValue-1] + `":1}]}}`, left: 10 + 2},
		{name: "many members", in: `{"response":[{"r":"` + long[:maxValue-2] + `","s":"` + long[:maxValue-2] + `","b":{"x":[1]}, "c" : "d"},{"e":1}]}`,
			want: `{"response":[{"r":"` + long[:maxValue-2] + `","s":"` + long[:maxValue-2] + `"},{"e":1}]}`, left: len(`"b"`) + len(`{"x":[1]}`) + len(`"c"`) + len(`"d"`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, c, err := cutText(tc.in, false)
			if err != nil || c.left != tc.left || c.ended {
				t.Errorf("error %v, left out %d, want %d, ended %v", err, c.left, tc.left, c.ended)
			}
			if got != tc.want {
				t.Errorf("got %.200s of %d bytes, want %.200s of %d", got, len(got), tc.want, len(tc.want))
			}
		})
	}
}

// A list that is too long ends where the rest can be asked for, and is refused
// where it cannot: then the next page would go on behind what was left out.
func TestCutLists(t *testing.T) {
	SkipUnderRace(t)
	big := `{"s":"` + strings.Repeat("x", 1<<20) + `"}`
	for name, answer := range map[string]string{
		"bytes":   `{"response":[` + strings.Repeat(big+",", 17) + `{"id":"behind"}]}`,
		"records": `{"response":[` + strings.Repeat("{},", maxRecords) + `{"id":"behind"}]}`,
	} {
		out, c, err := cutText(answer, true)
		if err != nil || !c.ended || strings.Contains(out, "behind") || !json.Valid([]byte(out)) {
			t.Errorf("%s: error %v, ended %v, %d bytes", name, err, c.ended, len(out))
		}
		if _, _, err := cutText(answer, false); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// What stands around the list is bounded as well.
func TestCutBounds(t *testing.T) {
	SkipUnderRace(t)
	member := `"a":"` + strings.Repeat("x", maxValue-2) + `",`
	out, _, err := cutText("{"+strings.Repeat(member, 20)+`"response":[]}`, true)
	if !errors.Is(err, ErrTooLarge) || len(out) > maxOut+maxValue {
		t.Errorf("%d MiB of it are left, error %v", len(out)>>20, err)
	}
}

func TestCutRefuses(t *testing.T) {
	for in, want := range map[string]error{
		"": io.ErrUnexpectedEOF, "{": io.ErrUnexpectedEOF, `{"a"`: io.ErrUnexpectedEOF, `{"a":[`: io.ErrUnexpectedEOF, `{"response":[{"a":"x\`: io.ErrUnexpectedEOF,
		"]": errNotJSON, `{"a" 1}`: errNotJSON, `{"a":}`: errNotJSON, "[}": errNotJSON, "{]": errNotJSON, `{"a":1]`: errNotJSON, ",": errNotJSON, `{"a",1}`: errNotJSON, "[1 2]": errNotJSON, "[1,]": errNotJSON,
	} {
		if out, _, err := cutText(in, true); !errors.Is(err, want) {
			t.Errorf("%s: %s, error %v, want %v", in, out, err, want)
		}
	}
}

// FuzzCut has objects and lists that a parser takes come out as they are, and whatever
// comes out no larger than it went in.
func FuzzCut(f *testing.F) {
	for _, s := range []string{`{"response":{"items":[{"a":[1e5,{"b":"\u00e9"}]},null],"metadata":{"next_offset":"1,a"}}}`, `{"response":[{"a":1} , {}]}`, `[[[[1]]]]`, `{"a":"\\"}`, ` `, `{"a" : {"b":{"c":[]}}}`} {
		f.Add([]byte(s))
	}
	compact := func(b []byte) []byte {
		v := jsontext.Value(bytes.Clone(b))
		if v.Compact(lenient) != nil {
			return nil
		}
		return v
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var c cutter
		out, err := c.read(bytes.NewReader(in))
		if want := compact(in); len(want) > 1 && (want[0] == '[' || want[0] == '{') && (err != nil || !bytes.Equal(compact(out), want)) {
			t.Errorf("%q became %q (%v)", in, out, err)
		}
		if err == nil && len(out) > len(in) || c.left != 0 || c.ended {
			t.Errorf("%q became %q", in, out)
		}
	})
}

// A record that nests deeper than the parser goes is delivered, and its page
// with it, whatever else stands there.
func TestDeepRecordIsDelivered(t *testing.T) {
	for _, l := range logs {
		for _, word := range []string{"", "FAIL"} {
			list := fmt.Sprintf(`[{"txid":"a"},{"txid":"b","deep":%s,"word":%q},{"txid":"c"}]`, deep(20_000), word)
			body := `{"response":` + list + `}`
			if l.List != "" {
				body = fmt.Sprintf(`{"response":{%q:%s},"stat":"OK"}`, l.List, list)
			}
			c := fakeClient(func(r *http.Request) (*http.Response, error) { return response(r, 200, body), nil })
			a, err := get(c)
			if err != nil {
				t.Fatal(err)
			}
			p, err := ParsePage(l, a.Body)
			if err != nil || len(p.Records) != 3 {
				t.Fatalf("%s: %d records, %v", l.Name, len(p.Records), err)
			}
			want := fmt.Sprintf(`{"txid":"b","deep":%q,"word":%q}`, deep(20_000), word)
			if diff := gocmp.Diff(want, string(p.Records[1].Raw)); diff != "" {
				t.Errorf("%s: %.300s", l.Name, diff)
			}
		}
	}
}
