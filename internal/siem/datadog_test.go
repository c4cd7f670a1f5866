//go:build cgo

package siem

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

const datadogKey = "00000000000000000000000000000001"

// datadog judges as Datadog's "Send logs" documents: what is older than 18 hours
// it takes, and drops.
func datadog(r *http.Request, body []byte) (status int, answer string, events []taken) {
	no := func(status int) (int, string, []taken) {
		return status, fmt.Sprintf(`{"errors":[{"status":"%d","title":%q}]}`, status, http.StatusText(status)), nil
	}
	var logs []map[string]any
	switch key := r.Header.Get("DD-API-KEY"); {
	case r.Method != http.MethodPost || r.URL.Path != "/api/v2/logs":
		return no(404)
	case key == "":
		return no(401)
	case key != datadogKey:
		return no(403)
	case !has(r, "Content-Type", "application/json"):
		return no(415)
	case len(body) > 5<<20:
		return no(413)
	case json.Unmarshal(body, &logs) != nil:
		return no(400)
	case len(logs) > 1000:
		return no(413)
	}
	for _, log := range logs {
		ms, _ := log["@timestamp"].(float64)
		at := time.UnixMilli(int64(ms))
		if log["ddsource"] != "duo" || log["service"] != "duo_in" || log["host"] == nil {
			return no(400)
		}
		for _, key := range []string{"@timestamp", "ddsource", "service"} {
			delete(log, key)
		}
		text, err := json.Marshal(log)
		if err != nil {
			return no(400)
		}
		if time.Since(at) <= 18*time.Hour {
			events = append(events, taken{string(text), at})
		}
	}
	return 202, "{}", events
}

func TestDatadogJudge(t *testing.T) {
	const path, auth, kind = "/api/v2/logs", "DD-API-KEY: " + datadogKey, "Content-Type: application/json"
	const log = `{"@timestamp":1,"ddsource":"duo","service":"duo_in","host":"h"}`
	many := "[" + log
	for range 1000 {
		many += "," + log
	}
	judgesAsDocumented(t, datadog, []request{
		{"a log", "POST", path, "[" + log + "]", []string{auth, kind}, 202},
		{"no key", "POST", path, "[" + log + "]", []string{kind}, 401},
		{"a wrong key", "POST", path, "[" + log + "]", []string{"DD-API-KEY: wrong", kind}, 403},
		{"no JSON", "POST", path, "[" + log, []string{auth, kind}, 400},
		{"1,001 logs", "POST", path, many + "]", []string{auth, kind}, 413},
		{"another type", "POST", path, "[" + log + "]", []string{auth, "Content-Type: text/csv"}, 415},
	})
}

func TestExampleDatadog(t *testing.T) {
	b := newBed(t)
	ca := newAuthority(t)
	w := newWeb(t, ca, datadog)
	b.spec.Env = append(b.spec.Env, "DATADOG_API_KEY="+datadogKey)
	b.run("datadog.conf", w, leads(t, ca, w.addr, "http-intake.logs.datadoghq.com", "443")...)
	b.refusedNothing(w)
	b.onTime(w.taken, time.Millisecond)
}
