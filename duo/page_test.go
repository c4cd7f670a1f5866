package duo

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePage(t *testing.T) {
	type page struct {
		Records []string
		Next    string
		Total   int
	}
	one := []string{`{"activity_id":"a"}`}
	for _, tc := range []struct {
		name, body string
		want       page
	}{
		{"metadata inside", `{"response":{"items":[{"activity_id":"a"}],"metadata":{"next_offset":"1,a","total_objects":7}},"stat":"OK"}`, page{one, "1,a", 7}},
		{"metadata beside", `{"stat":"OK","metadata":{"next_offset":"1,a","total_objects":7},"response":{"items":[{"activity_id":"a"}]}}`, page{one, "1,a", 7}},
		{"metadata first", `{"response":{"metadata":{"next_offset":"1,a"},"items":[{"activity_id":"a"}]}}`, page{one, "1,a", 0}},
		{"a list as response", `{"response":[{"activity_id":"a"}],"metadata":{"next_offset":"1,a"}}`, page{one, "1,a", 0}},
		{"an offset of two parts", `{"response":{"items":[],"metadata":{"next_offset":["1532951895000","af0ba235"]}}}`, page{nil, "1532951895000,af0ba235", 0}},
		{"an offset with a number in it", `{"response":{"items":[],"metadata":{"next_offset":[1532951895000,"af0ba235"]}}}`, page{nil, "1532951895000,af0ba235", 0}},
		{"a number as offset", `{"response":{"items":[],"metadata":{"next_offset":1532951895000}}}`, page{nil, "1532951895000", 0}},
		{"an escaped offset", `{"response":{"items":[],"metadata":{"next_offset":"1\u002ca\/b"}}}`, page{nil, "1,a/b", 0}},
		{"end null", `{"response":{"items":[],"metadata":{"next_offset":null}}}`, page{}},
		{"end empty", `{"response":{"items":[],"metadata":{"next_offset":""}}}`, page{}},
		{"end list", `{"response":{"items":[],"metadata":{"next_offset":[]}}}`, page{}},
		{"end missing", `{"response":{"items":[],"metadata":{}}}`, page{}},
		{"no metadata", `{"response":{"items":[]}}`, page{}},
		{"metadata null", `{"response":{"items":[],"metadata":null},"metadata":null}`, page{}},
		{"null as list", `{"response":{"items":null}}`, page{}},
		{"total as object", `{"response":{"items":[],"metadata":{"total_objects":{"relation":"eq","value":12}}}}`, page{Total: 12}},
		{"total as text", `{"response":{"items":[],"metadata":{"total_objects":"12"}}}`, page{Total: 12}},
		{"total of another kind", `{"response":{"items":[],"metadata":{"total_objects":["many"]}}}`, page{}},
		{"total too large for a number", `{"response":{"items":[],"metadata":{"total_objects":1e400}}}`, page{}},
		{"unknown keys everywhere", `{"x":[{}],"response":{"y":{"items":[1]},"items":[{"activity_id":"a"}],"metadata":{"z":{"next_offset":"no"}}}}`, page{one, "", 0}},
		{"records that are none", `{"response":{"items":[null,1,"a",[],{}]}}`, page{[]string{"null", "1", `"a"`, "[]", "{}"}, "", 0}},
		{"names twice in a record", `{"response":{"items":[{"a":1,"a":2}]}}`, page{[]string{`{"a":1,"a":2}`}, "", 0}},
		{"the list twice", `{"response":{"items":[1],"items":[2]}}`, page{[]string{"1", "2"}, "", 0}},
		{"broken UTF-8", "{\"response\":{\"items\":[{\"a\":\"\xff\"}]}}", page{[]string{"{\"a\":\"\xff\"}"}, "", 0}},
		{"white space kept within records", "{ \"response\" : { \"items\" : [ { \"a\" : 1 } ,\n{ } ] } }\n", page{[]string{`{ "a" : 1 }`, "{ }"}, "", 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := checkPage(t, logs[1], []byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			got := page{Next: p.Next, Total: p.Total}
			for _, r := range p.Records {
				got.Records = append(got.Records, string(r.Raw))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParsePageRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"nothing":             {"", "EOF"},
		"blanks":              {" \n", "EOF"},
		"HTML":                {"<html></html>", "invalid character '<'"},
		"a list":              {`[{"response":[]}]`, "where an object was expected"},
		"null":                {`null`, "where an object was expected"},
		"no response":         {`{"stat":"OK"}`, "it has no response.items"},
		"response null":       {`{"response":null}`, "it has no response.items"},
		"response text":       {`{"response":"items"}`, "it has no response.items"},
		"an empty response":   {`{"response":{}}`, "it has no response.items"},
		"another list":        {`{"response":{"authlogs":[]}}`, "it has no response.items"},
		"an object as list":   {`{"response":{"items":{"a":1}}}`, "it has no response.items"},
		"stat FAIL":           {`{"stat":"FAIL","code":50001}`, "it has no response.items"},
		"half a record":       {`{"response":{"items":[{"a":1`, "unexpected EOF"},
		"a missing comma":     {`{"response":{"items":[{} {}]}}`, "invalid character '{'"},
		"half a name":         {`{"response":{"items":[]},"metad`, "unexpected EOF"},
		"a control character": {"{\"response\":{\"items\":[\"a\nb\"]}}", "invalid character '\\n'"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := checkPage(t, logs[1], []byte(tc.body))
			if !errors.Is(err, ErrNotPage) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want ErrNotPage with %q", err, tc.want)
			}
			if p.Records != nil || p.Next != "" {
				t.Errorf("a refused page has content: %+v", p)
			}
		})
	}
}

// A page that was cut off is never taken for one with fewer records.
func TestParsePageCutOffAnywhere(t *testing.T) {
	for _, body := range []string{
		`{"response":{"items":[{"activity_id":"a","ts":"2024-05-01T12:00:00Z"},{"activity_id":"é"}],"metadata":{"next_offset":"1,a","total_objects":{"relation":"eq","value":2}}},"stat":"OK"}`,
		`{"metadata":{"next_offset":["1","a"]},"stat":"OK","response":[{"activity_id":"a"},{"activity_id":"b"}]}`,
	} {
		for n := range len(body) {
			if p, err := checkPage(t, logs[1], []byte(body[:n])); err == nil {
				t.Errorf("%d of %d bytes are a page of %d records", n, len(body), len(p.Records))
			}
		}
		if p, err := ParsePage(logs[1], []byte(body)); err != nil || len(p.Records) != 2 {
			t.Errorf("%d records, %v; want 2", len(p.Records), err)
		}
	}
}

// Records hold the memory of their page, but only where they are most of it.
func TestRecordsOfKnownPageOwnTheirBytes(t *testing.T) {
	for _, tc := range []struct {
		fresh int
		own   bool
	}{{100, false}, {60, false}, {40, true}, {1, true}, {0, true}} {
		var minutes []float64
		for i := range 100 {
			minutes = append(minutes, float64(i)/100)
		}
		c := opened(t, 10, window)
		if known := minutes[:100-tc.fresh]; len(known) > 0 {
			var err error
			if c, _, err = c.Advance(logs[1], pageOf(t, 0, known...), window, len(known), minute(60)); err != nil {
				t.Fatal(err)
			}
			c.Next = ""
		}
		p := pageOf(t, 0, minutes...)
		_, fresh, err := c.Advance(logs[1], p, window, len(minutes), minute(60))
		if err != nil || len(fresh) != tc.fresh {
			t.Fatalf("%d records, %v; want %d", len(fresh), err, tc.fresh)
		}
		for i, r := range fresh {
			of := p.Records[len(p.Records)-len(fresh)+i].Raw
			if own := &r.Raw[0] != &of[0]; own != tc.own || string(r.Raw) != string(of) {
				t.Errorf("%d of 100 records are new, %q has memory of its own: %v, want %v", tc.fresh, r.Raw, own, tc.own)
			}
		}
	}
}

// What Duo answers is anything: it becomes records as they stand there, or an
// error, and no page makes a cursor panic or one that cannot be stored.
func FuzzParsePage(f *testing.F) {
	for _, s := range []string{
		`{"response":{"items":[{"activity_id":"a","ts":"2024-05-01T12:00:00Z"},null],"metadata":{"next_offset":"1,a","total_objects":2}},"stat":"OK"}`,
		`{"response":{"items":[{ "a" : [1e5,{"b":"\u00e9"}]}],"metadata":{"next_offset":["1",2]}}}`,
		`{"response":[{"ts":1714564800000},{}],"metadata":{"next_offset":[]}}`,
		`{"response":[{"action":"x","timestamp":1714564800},{"timestamp":"1714564800","isotimestamp":"2024-05-01T12: 00: 00"}]}`,
		`{"response":{"events":[{"sekey":"SE1","surfaced_timestamp":1714564800000},{"sekey":"SE1"}],"metadata":{"next_offset":2}}}`,
		`{"response":{"items":null}}`, `{"response":{"items":[1],"items":[2]}}`, `{"stat":"FAIL","code":"40103"}`, `{"response":{"items":[{"a":1`, "[", "",
	} {
		for log := range logs {
			f.Add([]byte(s), log)
		}
	}
	samples, _ := filepath.Glob("../../shared/fixtures/*/*.json") // real answers, where there are some
	for _, path := range samples {
		sample, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for log := range logs {
			f.Add(sample, log)
			f.Add(fmt.Appendf(nil, `{"response":%s}`, sample), log)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		l := logs[uint(n)%uint(len(logs))]
		p, err := checkPage(t, l, body)
		if err != nil {
			if !errors.Is(err, ErrNotPage) || len(p.Records) > 0 {
				t.Fatalf("%d records and error %v", len(p.Records), err)
			}
			return
		}
		open, _, _ := NewCursor(noon, noon).Open(minute(30), window)
		for range 2 { // the second time as a page that follows
			next, _, err := open.Advance(l, p, window, 3, minute(30))
			if err != nil {
				break
			}
			open = throughJSON(t, next)
			if open.Until == 0 {
				open.Until = at(28)
			}
		}
		for _, r := range p.Records {
			if !json.Valid(r.Raw) {
				t.Errorf("a record is not JSON: %q", r.Raw)
			}
		}
		if want, ok := listed(l, body); ok && !slices.EqualFunc(p.Records, want, func(r Record, w json.RawMessage) bool { return string(r.Raw) == string(w) }) {
			t.Errorf("records %+v, want %q", p.Records, want)
		}
	})
}

// listed reads a page's records with encoding/json, which merges what is there
// twice: then, and where it takes other names for the same, it answers false.
func listed(l Log, body []byte) (records []json.RawMessage, ok bool) {
	var top, response map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil {
		return nil, false
	}
	for _, name := range []string{"response", l.List} {
		if name != "" && strings.Count(string(body), fmt.Sprintf("%q", name)) != 1 || strings.Contains(string(body), `\u`) {
			return nil, false
		}
	}
	if json.Unmarshal(top["response"], &records) == nil {
		return records, true
	}
	return records, json.Unmarshal(top["response"], &response) == nil && json.Unmarshal(response[l.List], &records) == nil
}
