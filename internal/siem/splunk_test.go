//go:build cgo

package siem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const hecToken = "00000000-0000-4000-8000-000000000001"

// hec judges as Splunk's HTTP Event Collector: "Troubleshoot HTTP Event
// Collector", possible error codes, and "Format events for HEC". A batch is taken
// up to the first event that is wrong.
func hec(r *http.Request, body []byte) (status int, answer string, events []taken) {
	no := func(status, code int, text string) (int, string, []taken) {
		return status, fmt.Sprintf(`{"text":%q,"code":%d}`, text, code), events
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case r.URL.Path != "/services/collector/event" && r.URL.Path != "/services/collector":
		return no(404, 404, "The requested URL was not found on this server.")
	case r.Method != http.MethodPost:
		return no(405, 405, "Method not allowed")
	case scheme == "":
		return no(401, 2, "Token is required")
	case scheme != "Splunk":
		return no(401, 3, "Invalid authorization")
	case token != hecToken:
		return no(403, 4, "Invalid token")
	case len(bytes.TrimSpace(body)) == 0:
		return no(400, 5, "No data")
	}
	for dec := json.NewDecoder(bytes.NewReader(body)); ; {
		var e struct {
			Time                     float64
			Host, Source, Sourcetype string
			Event                    json.RawMessage
			Fields                   map[string]any
		}
		if err := dec.Decode(&e); err == io.EOF {
			return 200, `{"text":"Success","code":0}`, events
		} else if err != nil {
			return no(400, 6, "Invalid data format")
		}
		for _, value := range e.Fields {
			if _, nested := value.(map[string]any); nested {
				return no(400, 15, "Error in handling indexed fields")
			}
		}
		switch text := string(e.Event); {
		case text == "":
			return no(400, 12, "Event field is required")
		case text == `""` || text == "{}" || text == "null":
			return no(400, 13, "Event field cannot be blank")
		}
		if e.Sourcetype != "duo:json" || e.Source != "duo_in" || e.Host == "" || e.Fields["event_id"] == nil {
			return no(400, 6, fmt.Sprintf("a test's: not as the example has it: %.500s", body))
		}
		events = append(events, taken{text: string(e.Event), at: time.UnixMicro(int64(e.Time*1e6 + 0.5))})
	}
}

func TestSplunkJudge(t *testing.T) {
	const path, auth = "/services/collector/event", "Authorization: Splunk " + hecToken
	const good = `{"time":1,"host":"h","source":"duo_in","sourcetype":"duo:json","fields":{"event_id":"1"},"event":{"a":1}}`
	judgesAsDocumented(t, hec, []request{
		{"an event", "POST", path, good + good, []string{auth}, 200},
		{"no token", "POST", path, good, nil, 401},
		{"another scheme", "POST", path, good, []string{"Authorization: Bearer " + hecToken}, 401},
		{"a wrong token", "POST", path, good, []string{"Authorization: Splunk wrong"}, 403},
		{"nothing", "POST", path, "", []string{auth}, 400},
		{"not JSON", "POST", path, good + "nonsense", []string{auth}, 400},
		{"no event", "POST", path, `{"time":1}`, []string{auth}, 400},
		{"a nested field", "POST", path, `{"event":"x","fields":{"a":{"b":1}}}`, []string{auth}, 400},
		{"another path", "POST", "/", good, []string{auth}, 404},
	})
}

func TestExampleSplunk(t *testing.T) {
	b := newBed(t)
	ca := newAuthority(t)
	w := newWeb(t, ca, hec)
	b.spec.Env = append(b.spec.Env, "SPLUNK_HEC_TOKEN="+hecToken)
	b.run("splunk.conf", w, leads(t, ca, w.addr, "splunk.example.com", "8088")...)
	b.refusedNothing(w)
	b.onTime(w.taken, 2*time.Microsecond)
}
