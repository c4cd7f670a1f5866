//go:build cgo

package siem

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// elastic judges as Elasticsearch 8 and OpenSearch 2 do: "Bulk API". It has what
// was indexed, each under its index and _id.
type elastic struct {
	password string
	busy     func(id string) bool // whether an event is refused for load now; nil for none
	mappings mappings
	indexed  map[string]bool // index, blank, _id
}

// item is what became of one event.
type item struct {
	Index  string `json:"_index"`
	ID     string `json:"_id"`
	Status int    `json:"status"`
	Result string `json:"result,omitempty"`
	Error  any    `json:"error,omitempty"`
}

func (s *elastic) judge(r *http.Request, body []byte) (status int, answer string, events []taken) {
	user, password, _ := r.BasicAuth()
	switch {
	case user != "duo_in" || password != s.password:
		return 401, `{"error":{"type":"security_exception","reason":"unable to authenticate"},"status":401}`, nil
	case r.Method == http.MethodPut && r.URL.Path == "/_index_template/duo":
		if err := s.mappings.learn(body); err != nil {
			return 400, fmt.Sprintf(`{"error":{"reason":%q},"status":400}`, err), nil
		}
		return 200, `{"acknowledged":true}`, nil
	case r.Method != http.MethodPost || r.URL.Path != "/_bulk":
		return 405, `{"error":"Incorrect HTTP method","status":405}`, nil
	case !has(r, "Content-Type", "application/x-ndjson", "application/json"):
		return 406, fmt.Sprintf(`{"error":"Content-Type header [%s] is not supported","status":406}`, r.Header.Get("Content-Type")), nil
	case !bytes.HasSuffix(body, []byte("\n")):
		return 400, `{"error":{"type":"illegal_argument_exception","reason":"The bulk request must be terminated by a newline [\\n]"},"status":400}`, nil
	}
	var out struct {
		Errors bool              `json:"errors"`
		Took   int               `json:"took"`
		Items  []map[string]item `json:"items"`
	}
	for lines := newLineReader(body); lines.Scan(); {
		var action map[string]struct{ Index, ID, Type string }
		if err := unmarshalAction(lines.Bytes(), &action); err != nil || len(action) != 1 || !lines.Scan() {
			return 400, fmt.Sprintf(`{"error":{"type":"illegal_argument_exception","reason":"Malformed action/metadata line: %v"},"status":400}`, err), events
		}
		for name, a := range action {
			it, e := s.index(name, a.Index, a.ID, lines.Bytes())
			if e.text != "" {
				events = append(events, e)
			}
			out.Errors = out.Errors || it.Status >= 300
			out.Items = append(out.Items, map[string]item{name: it})
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return 200, string(text), events
}

func newLineReader(body []byte) *bufio.Scanner {
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, maxBody)
	return lines
}

// unmarshalAction reads the line before a document. Types are gone since
// Elasticsearch 8 and OpenSearch 2.
func unmarshalAction(line []byte, into *map[string]struct{ Index, ID, Type string }) error {
	var raw map[string]map[string]string
	if err := json.Unmarshal(line, &raw); err != nil {
		return err
	}
	*into = map[string]struct{ Index, ID, Type string }{}
	for name, a := range raw {
		for key := range a {
			if key != "_index" && key != "_id" {
				return fmt.Errorf("unknown parameter [%s]", key)
			}
		}
		(*into)[name] = struct{ Index, ID, Type string }{Index: a["_index"], ID: a["_id"]}
	}
	return nil
}

// index is one document. The event is as it came, but for the time that the way
// to the store adds; it is empty if the document is no new one.
func (s *elastic) index(action, index, id string, document []byte) (item, taken) {
	refused := func(status int, kind, reason string) (item, taken) {
		return item{Index: index, ID: id, Status: status, Error: map[string]string{"type": kind, "reason": reason}}, taken{}
	}
	key := index + " " + id
	switch {
	case id == "" || len(id) > 512:
		return refused(400, "illegal_argument_exception", "an _id of 1 to 512 bytes is what the example promises")
	case s.busy != nil && s.busy(id):
		return refused(429, "es_rejected_execution_exception", "rejected execution of coordinating operation")
	case action == "create" && s.indexed[key]:
		return refused(409, "version_conflict_engine_exception", "document already exists")
	}
	var fields map[string]any
	if err := json.Unmarshal(document, &fields); err != nil {
		return refused(400, "document_parsing_exception", err.Error())
	}
	if err := s.mappings.fit(index, fields); err != nil {
		return refused(400, "document_parsing_exception", err.Error())
	}
	if s.indexed[key] {
		return item{Index: index, ID: id, Status: 200, Result: "updated"}, taken{}
	}
	s.indexed[key] = true
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(fields["@timestamp"]))
	if err != nil || index != "duo-"+at.Format("2006.01") {
		return refused(400, "document_parsing_exception", "not the month's index, or no time")
	}
	delete(fields, "@timestamp")
	text, err := json.Marshal(fields)
	if err != nil {
		return refused(400, "document_parsing_exception", err.Error())
	}
	return item{Index: index, ID: id, Status: 201, Result: "created"}, taken{string(text), at}
}

// newElastic knows the template of the examples, as the comments there have one
// teach it.
func newElastic(t *testing.T) *elastic {
	t.Helper()
	s := &elastic{password: "a password", indexed: map[string]bool{}}
	r, err := http.NewRequest(http.MethodPut, "https://elasticsearch.example.com:9200/_index_template/duo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("duo_in", s.password)
	if status, answer, _ := s.judge(r, []byte(read(t, "receivers/elasticsearch-template.json"))); status != 200 {
		t.Fatal(answer)
	}
	return s
}

func TestElasticsearchJudge(t *testing.T) {
	s := newElastic(t)
	r, _ := http.NewRequest("", "", nil)
	r.SetBasicAuth("duo_in", s.password)
	auth, kind := "Authorization: "+r.Header.Get("Authorization"), "Content-Type: application/x-ndjson"
	const action, document = `{"create":{"_index":"duo-2026.11","_id":"1"}}` + "\n", `{"@timestamp":"2026-11-22T09:00:00.000001Z"}` + "\n"
	judgesAsDocumented(t, s.judge, []request{
		{"a document", "POST", "/_bulk", action + document, []string{auth, kind}, 200},
		{"nobody's", "POST", "/_bulk", action + document, []string{kind}, 401},
		{"no type of content", "POST", "/_bulk", action + document, []string{auth}, 406},
		{"no end", "POST", "/_bulk", action + strings.TrimSpace(document), []string{auth, kind}, 400},
		{"a type", "POST", "/_bulk", strings.Replace(action, `"_id"`, `"_type":"_doc","_id"`, 1) + document, []string{auth, kind}, 400},
	})
	for action, want := range map[string]int{"create": 409, "index": 200} {
		if it, _ := s.index(action, "duo-2026.11", "1", []byte(document)); it.Status != want {
			t.Errorf("%s of what is there: status %d, want %d", action, it.Status, want)
		}
	}
}

// TestExampleElastic has, beside the outage, every third event refused for load
// when it comes first, in bulks of which the rest goes well.
func TestExampleElastic(t *testing.T) {
	for _, tt := range []struct{ file, host, env string }{
		{"elasticsearch.conf", "elasticsearch.example.com", "ELASTICSEARCH_PASSWORD"},
		{"opensearch.conf", "opensearch.example.com", "OPENSEARCH_PASSWORD"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			b := newBed(t)
			ca := newAuthority(t)
			s := newElastic(t)
			seen := map[string]bool{}
			s.busy = func(id string) bool {
				first := !seen[id]
				seen[id] = true
				return first && len(seen)%3 == 0
			}
			w := newWeb(t, ca, s.judge)
			b.spec.Env = append(b.spec.Env, tt.env+"="+s.password)
			b.run(tt.file, w, leads(t, ca, w.addr, tt.host, "9200")...)
			b.refusedNothing(w)
			b.onTime(w.taken, time.Microsecond)
		})
	}
}
