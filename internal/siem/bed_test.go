//go:build cgo

package siem

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
	"duo_in/internal/ceftest"
	"duo_in/internal/flbtest"
	"duo_in/plugin/record"
)

// buildDir is where the plugin is built, once, by the first test that runs it.
var buildDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "duo_in-siem-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		buildDir = dir
		flag.Parse()
		// Most of a bed is waiting, so that more of them run at once than there are processors.
		_ = flag.Set("test.parallel", "16")
		return m.Run()
	}())
}

var buildPlugin = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return flbtest.BuildPlugin(ctx, buildDir)
})

// fluentBit is where Fluent Bit is, and the plugin. Without Fluent Bit the test
// is skipped.
func fluentBit(t *testing.T) (bin, plugin string) {
	t.Helper()
	bin, ok := flbtest.FluentBitPath()
	if !ok {
		t.Skipf("NO FLUENT BIT: %s was NOT run: put fluent-bit on PATH or its path into $FLUENT_BIT", t.Name())
	}
	plugin, err := buildPlugin()
	if err != nil {
		t.Fatal(err)
	}
	return bin, plugin
}

// collector is what an example sends to. It is up when a test gets it.
type collector interface {
	stop()  // nobody can connect any more, and what came is in got
	start() // it is up again, at the same place
	// got is what came so far, in order and with what came before a stop: of each
	// event the record as JSON, or with the formats raw and cef the message.
	// What the way to the SIEM adds to it is looked at, and taken off.
	got() []string
}

// edit is a place of an example that its user edits.
type edit struct {
	old, new string
	times    int // that old stands there; 0 is once
}

// substitute returns a file of examples/ as its user has it.
func substitute(t *testing.T, name string, edits ...edit) string {
	t.Helper()
	text := read(t, name)
	for _, e := range edits {
		if got := strings.Count(text, e.old); got != max(e.times, 1) {
			t.Fatalf("%s: %q stands there %d times, not %d", name, e.old, got, max(e.times, 1))
		}
		text = strings.ReplaceAll(text, e.old, e.new)
	}
	return text
}

// bed is what an example is run in.
type bed struct {
	t          *testing.T
	dir        string
	fluentBit  string
	spec       flbtest.Spec
	server     *duotest.Server
	duo        *duotest.Running
	ca         string // the file of the simulated Duo's
	generators map[string]*duotest.Generator
	host       *flbtest.Process

	metricsPort int // of its metrics, if it has them
}

// newBed makes a simulated Duo without events. Beds are used at the same time:
// most of it is waiting.
func newBed(t *testing.T) *bed {
	t.Helper()
	bin, plugin := fluentBit(t)
	t.Parallel()
	b := &bed{t: t, dir: t.TempDir(), fluentBit: bin, generators: map[string]*duotest.Generator{}}
	b.server = duotest.New(duotest.Config{Delay: time.Second})
	b.duo = b.server.StartTLS()
	t.Cleanup(b.duo.Close)
	var err error
	if b.ca, err = b.duo.CAFile(b.dir); err != nil {
		t.Fatal(err)
	}
	b.spec = flbtest.Spec{Plugin: plugin, Dir: b.dir, Env: []string{
		"DUO_API_HOST=" + b.duo.Addr, "DUO_INTEGRATION_KEY=" + duotest.IntegrationKey, "DUO_SECRET_KEY=" + duotest.SecretKey,
		"HTTPS_PROXY=", "https_proxy=",
	}}
	return b
}

// state is the folder that the example has as /var/lib/duo_in.
func (b *bed) state() string { return filepath.Join(b.dir, "state") }

// file has Duo file n events in each of the logs, the usual three if none is
// named, all of them within the last second.
func (b *bed) file(n int, logs ...string) {
	if len(logs) == 0 {
		logs = duotest.Logs()
	}
	now := time.Now()
	for _, log := range logs {
		if b.generators[log] == nil {
			b.generators[log] = duotest.NewGenerator(log, 1, duotest.Options{})
		}
		b.server.Add(log, b.generators[log].Spread(now.Add(-time.Second), now, n)...)
	}
}

// fileText has Duo file an administrator's action that has text where an event
// has the most of it: whatever a person entered.
func (b *bed) fileText(text string) {
	b.t.Helper()
	g := duotest.NewGenerator(duotest.Activity, uint64(1000+b.server.Len(duotest.Activity)), duotest.Options{})
	var event map[string]any
	if err := json.Unmarshal(g.At(time.Now()), &event); err != nil {
		b.t.Fatal(err)
	}
	event["target"] = map[string]string{"name": "a user", "details": text}
	raw, err := json.Marshal(event)
	if err != nil {
		b.t.Fatal(err)
	}
	b.server.Add(duotest.Activity, raw)
}

// Places that every example has: they are edited wherever they stand.
var (
	storagePath   = regexp.MustCompile(`(?m)^( +storage\.path:? +)/var/lib/duo_in/storage$`)
	schedulerCap  = regexp.MustCompile(`(?m)^( +)scheduler\.cap(:? +)60$`)
	checkpointDir = regexp.MustCompile(`(?m)^( +)checkpoint_dir(:? +)/var/lib/duo_in$`)
)

// configure returns an example as its user has it, whose edits these are beside
// the folder of its state and the CA of the simulated Duo. To be quick it asks
// for events that are a second old, once a second, and tries again after one or
// two.
func (b *bed) configure(name string, edits ...edit) (config string) {
	b.t.Helper()
	config = substitute(b.t, name, edits...)
	inputs := 0
	for _, s := range flbtest.ParseConfig(name, config) {
		if s.Name == "INPUT" && s.Get("name") == "duo" {
			inputs++
		}
	}
	replace := func(place *regexp.Regexp, with string, want int) {
		if got := len(place.FindAllString(config, -1)); got != want || want == 0 {
			b.t.Fatalf("%s: %v stands there %d times, not %d", name, place, got, want)
		}
		config = place.ReplaceAllString(config, with)
	}
	replace(storagePath, "${1}"+b.state()+"/storage", 1)
	replace(schedulerCap, "${1}scheduler.cap${2}2\n${1}scheduler.base${2}1", 1)
	line := "${1}%s${2}%s\n"
	replace(checkpointDir, fmt.Sprintf(strings.TrimSuffix(strings.Repeat(line, 5), "\n"),
		"checkpoint_dir", b.state(), "ca_file", b.ca, "poll_interval", "1s", "delay", "1s", "overlap", "30s"), inputs)
	return config
}

// start runs a configuration; the test's end ends it if nothing else has.
func (b *bed) start(name, config string) {
	b.t.Helper()
	b.spec.ConfigName, b.spec.Config = filepath.Base(name), config
	p, err := flbtest.Start(flbtest.FluentBit, b.fluentBit, b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	b.host = p
	b.t.Cleanup(func() {
		_ = p.Kill()
		if b.t.Failed() {
			log := p.Log()
			b.t.Logf("the log:\n%s", log[max(0, len(log)-8000):])
		}
	})
}

// stop ends Fluent Bit cleanly, and looks at what it logged.
func (b *bed) stop() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := b.host.Stop(ctx); err != nil {
		b.t.Fatal(err)
	}
	for _, bad := range []string{duotest.SecretKey, "unknown configuration property", "is not an option"} {
		if strings.Contains(b.host.Log(), bad) {
			b.t.Errorf("the log has %q:\n%s", bad, b.host.Log())
		}
	}
}

// kill ends Fluent Bit at once: stop waits for what it cannot deliver.
func (b *bed) kill() {
	b.t.Helper()
	if err := b.host.Kill(); err != nil {
		b.t.Fatal(err)
	}
}

// metrics is the edit that has Fluent Bit tell what it delivered.
func (b *bed) metrics() edit {
	b.metricsPort = flbtest.FreePort(b.t)
	return edit{old: "    flush             1\n", new: fmt.Sprintf("    flush 1\n    http_server on\n    http_listen 127.0.0.1\n    http_port %d\n", b.metricsPort)}
}

// delivered is how many records Fluent Bit says that its outputs delivered.
func (b *bed) delivered() (n int) {
	b.t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/metrics", b.metricsPort))
	if err != nil {
		return 0 // not up yet
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotFound {
		return 0 // it has not counted yet, which it does once a second
	}
	var metrics struct {
		Output map[string]struct {
			Records int `json:"proc_records"`
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&metrics); err != nil {
		b.t.Fatal(err)
	}
	for _, o := range metrics.Output {
		n += o.Records
	}
	return n
}

// waitFor waits until a condition holds; it fails the test after two minutes,
// which only a fault reaches.
func (b *bed) waitFor(what string, cond func() bool) {
	b.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !cond(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("no %s within two minutes", what)
		}
	}
}

// awaitFailures waits until Fluent Bit has failed to deliver so often, since it
// was started.
func (b *bed) awaitFailures(n int) {
	b.t.Helper()
	b.waitFor("failure to deliver", func() bool { return b.failures() >= n })
}

func (b *bed) failures() int {
	return strings.Count(b.host.Log(), "failed to flush chunk")
}

// run runs an example with an outage of its only receiver: what Duo files before
// it and during it arrives, and nothing twice.
func (b *bed) run(name string, c collector, edits ...edit) {
	b.t.Helper()
	config := b.configure(name, edits...)
	awaitAll := func(when string) {
		b.t.Helper()
		filed := len(b.events())
		b.waitFor("events "+when, func() bool { return distinct(c.got()) >= filed })
	}
	b.file(100)
	b.fileText(hostileText)
	b.start(name, config)
	awaitAll("at first")
	c.stop()
	failures := b.failures()
	b.file(100)
	b.awaitFailures(failures + 1)
	c.start()
	awaitAll("after the outage")
	b.stop()
	b.equal(name, formatOf(name, config), c.got())
}

// distinct is how many events there are among what a collector got.
func distinct(got []string) int {
	seen := map[string]bool{}
	for _, text := range got {
		seen[text] = true
	}
	return len(seen)
}

// hostileText is what a line, a record or a template could break at, and longer
// than what the outputs take unless they are told to.
var hostileText = "two\nlines, \r\n\ttab \x00 \x1b[31m \x7f \u0085 \u2028 \uFEFF end \\ \" ' = | % {} [] <14>1 日本語 🦆 </script> $message %msg% ${DUO} \\n \\u00fc " +
	strings.Repeat("and so on ", 1500)

// formatOf is the format of the example's only input.
func formatOf(name, config string) record.Format {
	for _, s := range flbtest.ParseConfig(name, config) {
		if format := s.Get("format"); s.Name == "INPUT" && format != "" {
			f, _ := record.ParseFormat(format) // the plugin has read it
			return f
		}
	}
	return record.JSON
}

// event is one that Duo filed.
type event struct {
	log, id string
	at      time.Time
	raw     json.RawMessage
}

// idKeys are where an event's id and its time are.
var idKeys = map[string]struct{ id, at string }{
	duotest.Authentication: {"txid", "isotimestamp"},
	duotest.Activity:       {"activity_id", "ts"},
	duotest.Telephony:      {"telephony_id", "ts"},
}

// events are those that Duo filed so far, by id: of all logs, or of those named.
func (b *bed) events(logs ...string) map[string]event {
	b.t.Helper()
	events := map[string]event{}
	for log, keys := range idKeys {
		if len(logs) > 0 && !slices.Contains(logs, log) {
			continue
		}
		for _, raw := range b.server.Records(log) {
			var fields map[string]any
			if err := json.Unmarshal(raw, &fields); err != nil {
				b.t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, fields[keys.at].(string))
			if err != nil {
				b.t.Fatal(err)
			}
			id := fields[keys.id].(string)
			events[id] = event{log, id, at, raw}
		}
	}
	return events
}

// equal compares what a receiver got with what Duo filed, in all logs or in
// those named, and what duo_in is to make of that in this format.
func (b *bed) equal(where string, format record.Format, got []string, logs ...string) {
	b.t.Helper()
	for id, e := range b.compare(where, format, got, logs...) {
		b.t.Errorf("%s: missing: %s %s", where, e.log, id)
	}
	if len(got) == 0 {
		b.t.Errorf("%s: got nothing", where)
	}
}

// compare is equal, but returns what is missing.
func (b *bed) compare(where string, format record.Format, got []string, logs ...string) (missing map[string]event) {
	b.t.Helper()
	missing = b.events(logs...)
	seen := map[string]int{}
	enc := record.NewEncoder(record.Options{Format: format, Version: "0.1.0"})
	for _, text := range got {
		eventID := b.eventID(text)
		if seen[eventID]++; seen[eventID] > 1 {
			// On a machine that is too busy duo_in takes a batch for lost, and says so.
			if !strings.Contains(b.host.Log(), "handing it over again") {
				b.t.Errorf("%s: %s came %d times", where, eventID, seen[eventID])
			}
			continue
		}
		id := eventID[:max(strings.LastIndexByte(eventID, '-'), 0)] // Duo's, before the hash
		e, ok := missing[id]
		if !ok {
			b.t.Errorf("%s: Duo has no %s", where, eventID)
			continue
		}
		delete(missing, id)
		if diff := b.diff(enc, format, e, eventID, text); diff != "" {
			b.t.Errorf("%s: %s (-made +arrived):\n%.4000s", where, eventID, diff)
		}
	}
	return missing
}

// eventID is an event's as the receiver reads it.
func (b *bed) eventID(text string) string {
	b.t.Helper()
	if strings.HasPrefix(text, "CEF:") {
		fields, err := ceftest.Parse(text)
		if err != nil {
			b.t.Fatalf("%v: %q", err, text)
		}
		return fields["cs5"]
	}
	id, _ := b.decoded(text)["event_id"].(string)
	return id
}

// diff compares an event with what is to be made of it: of raw and cef each
// byte, of json and flat the values.
func (b *bed) diff(enc *record.Encoder, format record.Format, e event, eventID, text string) string {
	b.t.Helper()
	made, err := flbtest.Unpack(enc.Append(nil, record.Event{
		Raw: e.raw, Time: e.at, EventType: e.log, Host: b.duo.Addr, EventID: eventID,
	}))
	if err != nil || len(made) != 1 {
		b.t.Fatalf("%d records: %v", len(made), err)
	}
	if format == record.Raw || format == record.CEF {
		return cmp.Diff(made[0].String("message"), text)
	}
	return cmp.Diff(b.decoded(string(made[0].JSON)), b.decoded(text))
}

func (b *bed) decoded(text string) (object map[string]any) {
	b.t.Helper()
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		b.t.Fatalf("%v: %q", err, text)
	}
	return object
}
