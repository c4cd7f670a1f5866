//go:build cgo

package siem

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loki judges as Grafana Loki 3 does behind a gateway: "Loki HTTP API", "Enforce
// rate limits and push request validation", "Accept out-of-order writes".
type loki struct {
	password string
	maxAge   time.Duration        // max_chunk_age
	oldest   time.Duration        // reject_old_samples_max_age, 0 for no limit
	newest   map[string]time.Time // by stream
	lines    map[string]bool      // stream, time and line: what comes again is dropped
}

// newLoki has the limits that Loki has by itself.
func newLoki() *loki {
	return &loki{"a password", 2 * time.Hour, 7 * 24 * time.Hour, map[string]time.Time{}, map[string]bool{}}
}

// configure reads the limits of examples/receivers/loki.yaml.
func (s *loki) configure(t *testing.T) {
	t.Helper()
	text := read(t, "receivers/loki.yaml")
	age := regexp.MustCompile(`(?m)^ingester:\n  max_chunk_age: (\d+h)$`).FindStringSubmatch(text)
	if age == nil || !regexp.MustCompile(`(?m)^limits_config:\n  reject_old_samples: false$`).MatchString(text) {
		t.Fatalf("loki.yaml is not as the test expects it:\n%s", text)
	}
	s.maxAge, _ = time.ParseDuration(age[1])
	s.oldest = 0
}

func (s *loki) judge(r *http.Request, body []byte) (status int, answer string, events []taken) {
	user, password, _ := r.BasicAuth()
	switch {
	case user != "duo_in" || password != s.password:
		return 401, "no org id", nil
	case r.Method != http.MethodPost || r.URL.Path != "/loki/api/v1/push":
		return 404, "404 page not found", nil
	case !has(r, "Content-Type", "application/json"):
		return 400, "a body that is no JSON must be snappy-compressed protobuf", nil
	}
	var push struct {
		Streams []struct {
			Stream map[string]string
			Values [][]string
		}
	}
	if err := json.Unmarshal(body, &push); err != nil {
		return 400, err.Error(), nil
	}
	var refused []string
	for _, stream := range push.Streams {
		labels := fmt.Sprint(stream.Stream)
		if stream.Stream["job"] != "duo" || stream.Stream["eventtype"] == "" || len(stream.Stream) != 2 {
			return 400, "not the labels of the example: " + labels, events
		}
		for _, value := range stream.Values {
			at, text, err := s.line(labels, value)
			if err != nil { // the others are taken
				refused = append(refused, err.Error())
			} else if text != "" {
				events = append(events, taken{relabelled(text, stream.Stream["eventtype"]), at})
			}
		}
	}
	if len(refused) > 0 {
		return 400, strings.Join(refused, "\n"), events
	}
	return 204, "", events
}

// line is one line; the text is empty if it was there.
func (s *loki) line(labels string, value []string) (at time.Time, text string, err error) {
	if len(value) != 2 {
		return at, "", fmt.Errorf("a value of %d parts", len(value))
	}
	ns, err := strconv.ParseInt(value[0], 10, 64)
	if err != nil {
		return at, "", err
	}
	at = time.Unix(0, ns)
	switch {
	case len(value[1]) > 256<<10:
		return at, "", fmt.Errorf("max entry size exceeded: %d", len(value[1]))
	case s.oldest > 0 && time.Since(at) > s.oldest:
		return at, "", fmt.Errorf("timestamp too old: %v", at)
	case s.newest[labels].Sub(at) > s.maxAge/2:
		return at, "", fmt.Errorf("entry too far behind, entry timestamp is: %v, of the newest %v", at, s.newest[labels])
	}
	if at.After(s.newest[labels]) {
		s.newest[labels] = at
	}
	key := labels + value[0] + value[1]
	if s.lines[key] {
		return at, "", nil
	}
	s.lines[key] = true
	return at, value[1], nil
}

// relabelled is a line with the label that was in the record, at its end again.
func relabelled(line, eventtype string) string {
	return strings.TrimSuffix(line, "}") + fmt.Sprintf(",%q:%q}", "eventtype", eventtype)
}

func TestLokiJudge(t *testing.T) {
	s := newLoki()
	r, _ := http.NewRequest("", "", nil)
	r.SetBasicAuth("duo_in", s.password)
	auth, kind := "Authorization: "+r.Header.Get("Authorization"), "Content-Type: application/json"
	push := func(ago time.Duration) string {
		return fmt.Sprintf(`{"streams":[{"stream":{"job":"duo","eventtype":"x"},"values":[["%d","{\"a\":1}"]]}]}`, time.Now().Add(-ago).UnixNano())
	}
	const path = "/loki/api/v1/push"
	requests := []request{
		{"a line", "POST", path, push(0), []string{auth, kind}, 204},
		{"one a bit older", "POST", path, push(59 * time.Minute), []string{auth, kind}, 204},
		{"one much older", "POST", path, push(61 * time.Minute), []string{auth, kind}, 400},
		{"one of last week", "POST", path, push(8 * 24 * time.Hour), []string{auth, kind}, 400},
		{"nobody's", "POST", path, push(0), []string{kind}, 401},
		{"no type", "POST", path, push(0), []string{auth}, 400},
		{"no JSON", "POST", path, "x", []string{auth, kind}, 400},
	}
	judgesAsDocumented(t, s.judge, requests)
	s.configure(t)
	requests[2].want = 204
	judgesAsDocumented(t, s.judge, requests)
}

func TestExampleLoki(t *testing.T) {
	b := newBed(t)
	ca := newAuthority(t)
	s := newLoki()
	s.configure(t)
	w := newWeb(t, ca, s.judge)
	b.spec.Env = append(b.spec.Env, "LOKI_PASSWORD="+s.password)
	b.run("loki.conf", w, leads(t, ca, w.addr, "loki.example.com", "443")...)
	b.refusedNothing(w)
	b.onTime(w.taken, time.Microsecond)
}
