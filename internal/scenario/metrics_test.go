//go:build cgo

package scenario

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// scrape is a metrics endpoint: Fluent Bit's, or what stands for it in the C host.
type scrape struct {
	b    *bed
	port int
	text string             // of the last look
	all  map[string]float64 // of that, by name and labels: name{a="x",b="y"}
}

// metered has spec's host serve metrics, by what the documentation says to set,
// but on a port of its own and for nobody else.
func (b *bed) metered(spec *flbtest.Spec) *scrape {
	b.t.Helper()
	s := &scrape{b: b, port: flbtest.FreePort(b.t)}
	own := map[string]string{"http_listen": "127.0.0.1", "http_port": strconv.Itoa(s.port)}
	doc, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		b.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "\n[SERVICE]\n")
	block, _, _ := strings.Cut(rest, "\n```")
	for line := range strings.Lines(block) {
		words := strings.Fields(line)
		if len(words) != 2 {
			b.t.Fatalf("docs/monitoring.md: %q is no setting", line)
		}
		spec.Service = append(spec.Service, opt(words[0], cmp.Or(own[words[0]], words[1])))
	}
	return s
}

// look reads the endpoint, and reports whether it has any of the plugin's own.
func (s *scrape) look(p *flbtest.Process) bool {
	s.b.t.Helper()
	if s.b.kind == flbtest.CHost {
		s.b.command(p, "metrics duo")
		text, err := os.ReadFile(filepath.Join(s.b.dir, "out", "duo.prom"))
		if err != nil {
			s.b.t.Fatal(err)
		}
		s.text = string(text)
	} else {
		text, err := get(s.port)
		if err != nil {
			return false // it does not listen yet
		}
		s.text = text
	}
	for _, secret := range []string{duotest.SecretKey, duotest.IntegrationKey} {
		if strings.Contains(s.text, secret) {
			s.b.t.Errorf("a key is in the metrics:\n%s", s.text)
		}
	}
	s.all = map[string]float64{}
	for line := range strings.Lines(s.text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			s.all[name+"}"] = v
		}
	}
	return strings.Contains(s.text, "\nduo_in_up{")
}

func get(port int) (string, error) {
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v2/metrics/prometheus", port))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// of is a metric of a log, with what labels there are besides.
func (s *scrape) of(name, log string, labels ...string) float64 {
	key := fmt.Sprintf(`duo_in_%s{input="duo.0",log=%q,account="self"`, name, log)
	for _, l := range labels {
		key += "," + l
	}
	v, ok := s.all[key+"}"]
	if !ok {
		s.b.t.Fatalf("no %s} among %v", key, slices.Sorted(maps.Keys(s.all)))
	}
	return v
}

// sum adds a metric's series of all logs.
func (s *scrape) sum(name string, labels ...string) (total float64) {
	for _, log := range duotest.Logs() {
		total += s.of(name, log, labels...)
	}
	return total
}

// await looks until a condition holds, for so long.
func (s *scrape) await(p *flbtest.Process, what string, limit time.Duration, cond func() bool) {
	s.b.t.Helper()
	s.b.waitFor(what, limit, func() bool { return s.look(p) && cond() })
}

// What the endpoint shows is what came, through a burst, a 429, an outage and a
// reload.
func TestMetrics(t *testing.T) {
	t.Parallel()
	inBoth(t, quickDuo, func(b *bed) {
		b.backlog(500, duotest.Logs()...)
		spec := b.spec
		spec.HotReload, spec.Grace = true, time.Second
		m := b.metered(&spec)
		spec.Inputs = []flbtest.Input{b.input("duo", quick...)}
		p := b.startSpec(spec)
		d := b.delivery("duo")
		d.awaitAll(time.Minute, duotest.Logs()...)
		arrived := func() bool { d.update(); return int(m.sum("records_total")) == len(d.all) }
		up := func() bool { return m.sum("up") == 3 }
		m.await(p, "count of what came", time.Minute, func() bool { return arrived() && up() })
		if got := m.sum("bytes_total"); got < 1500*300 || got > 1500*3000 {
			b.t.Errorf("%v bytes of 1500 events", got)
		}
		if ok, failed := m.sum("calls_total", `outcome="ok"`), m.sum("calls_total", `outcome="unavailable"`); int(ok) < 15 || failed > 0 {
			b.t.Errorf("%v calls brought a page, %v failed; pages have 100 events", ok, failed)
		}
		m.await(p, "duplicates, and checkpoints, once there are new events", time.Minute, func() bool {
			b.server.Add(duotest.Telephony, duotest.NewGenerator(duotest.Telephony, uint64(time.Now().UnixNano()), duotest.Options{}).At(time.Now()))
			return m.sum("duplicates_dropped_total") > 3 && m.sum("commits_total", `outcome="ok"`) >= 3
		})

		// One log is limited, which is not over within this test.
		b.server.Fault(duotest.Fault{Kind: duotest.FaultRateLimit, Log: duotest.Activity})
		m.await(p, "429", time.Minute, func() bool {
			return m.of("calls_total", duotest.Activity, `outcome="limited"`) == 1 && m.of("up", duotest.Activity) == 0
		})
		// It is that of the calls that went through in the minute before, with a margin.
		calls := m.of("calls_total", duotest.Activity, `outcome="ok"`)
		if pace := m.of("pace_seconds", duotest.Activity); pace < 60/calls || pace > 66 || m.of("up", duotest.Telephony) != 1 {
			b.t.Errorf("after a 429 behind %v calls the pace is %v s, want from %v to 66; the others are up: %v", calls, pace, 60/calls, m.of("up", duotest.Telephony))
		}

		// Duo is out for the others.
		b.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 503, N: -1})
		m.await(p, "lag", time.Minute, func() bool {
			return m.of("lag_seconds", duotest.Telephony) >= 5 && m.of("up", duotest.Telephony) == 0 && m.of("calls_total", duotest.Telephony, `outcome="unavailable"`) > 0
		})
		b.server.ClearFaults()
		m.await(p, "end of the lag", 60*time.Second, func() bool {
			return m.of("lag_seconds", duotest.Telephony) < 4 && m.of("up", duotest.Telephony) == 1
		})
		// On a busy machine the minute that a 429 takes can be over by now.
		if lag := m.of("lag_seconds", duotest.Activity); lag < 5 && m.of("up", duotest.Activity) == 0 {
			b.t.Errorf("the limited log lags by %v s", lag)
		}
		m.await(p, "count of what came", time.Minute, arrived)

		b.reload(p, 1)
		m.await(p, "counters that begin anew", time.Minute, func() bool { return up() && m.of("calls_total", duotest.Activity, `outcome="limited"`) == 0 })
		b.stop(p)
		if strings.Contains(p.Log(), "unresetable") {
			b.t.Errorf("a counter was to fall:\n%s", p.Log())
		}
	})
}

// A host that has no metrics, or not all that it takes to make some, works the
// same.
func TestNoMetrics(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*bed) string{
		"none": func(b *bed) string { b.spec.Metrics = "off"; return artifacts.hosts[flbtest.CHost] },
		"no gauges": func(b *bed) string {
			host, err := flbtest.BuildCHost(context.Background(), b.dir, "-DNO_GAUGES")
			if err != nil {
				b.t.Fatal(err)
			}
			return host
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, flbtest.CHost, duotest.Config{})
			b.backlog(50, duotest.Logs()...)
			host, m := prepare(b), &scrape{b: b}
			spec := b.spec
			spec.Inputs = []flbtest.Input{b.input("duo")}
			p := b.startHost(host, spec)
			d := b.delivery("duo")
			d.awaitAll(time.Minute, duotest.Logs()...)
			if m.look(p); strings.Contains(m.text, "duo_in_") {
				b.t.Errorf("there are metrics of ours:\n%s", m.text)
			}
			b.stop(p)
			if d.update(); len(d.all) != 150 {
				b.t.Errorf("%d records arrived, want 150", len(d.all))
			}
		})
	}
}
