package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// lab is what the measurements share: what was built, and where.
type lab struct {
	out       io.Writer // for people
	dir       string
	plugin    string
	fluentBit string // its path, "" if there is none
	version   string // its version
	cHost     string
	fake      string // a plugin that does next to nothing
	scale     scale
	profile   string // file for a profile of the share; "" for none

	mu   sync.Mutex // guards what follows, and out
	runs int        // hosts started so far, each has a folder
}

// newLab builds what is measured in dir.
func newLab(ctx context.Context, dir string, s scale, out io.Writer) (*lab, error) {
	l := &lab{out: out, dir: dir, scale: s}
	var err error
	if l.plugin, err = flbtest.BuildPlugin(ctx, dir); err != nil {
		return nil, err
	}
	if l.cHost, err = flbtest.BuildCHost(ctx, dir); err != nil {
		return nil, err
	}
	if l.fake, err = flbtest.BuildFake(ctx, dir); err != nil {
		return nil, err
	}
	if path, found := flbtest.FluentBitPath(); found {
		version, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			return nil, fmt.Errorf("%s --version: %w", path, err)
		}
		l.fluentBit, l.version = path, firstLine(version)
	}
	return l, nil
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// best is the host for what both can show: Fluent Bit where there is one.
func (l *lab) best() flbtest.Kind {
	if l.fluentBit == "" {
		return flbtest.CHost
	}
	return flbtest.FluentBit
}

// in names a host for people.
func (l *lab) in(kind flbtest.Kind) string {
	if kind == flbtest.FluentBit {
		return l.version
	}
	if l.fluentBit == "" {
		return "the C host, for want of a Fluent Bit"
	}
	return "the C host"
}

// say tells people how far it is.
func (l *lab) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

// folder is a new one for each call.
func (l *lab) folder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs++
	return filepath.Join(l.dir, strconv.Itoa(l.runs))
}

// setting is a host to be started.
type setting struct {
	kind    flbtest.Kind
	duo     *simulated       // whom duo_in reads; nil for a host without duo_in
	options []flbtest.Option // of duo_in, besides those that reach Duo
	input   []flbtest.Option // of another input of Fluent Bit, in place of duo_in
	output  []flbtest.Option // of Fluent Bit; null if there are none
	flush   string           // of Fluent Bit; half a second if there is none
	silent  bool             // Fluent Bit: no HTTP server, as by default; records are not told then

	collectEvery time.Duration // C host; its main thread then takes what comes as often
	logCollects  bool          // C host
	keep         bool          // C host: what is delivered is written to a file
	env          []string      // KEY=VALUE
}

// host is one that runs.
type host struct {
	*flbtest.Process
	kind    flbtest.Kind
	dir     string
	metrics string // Fluent Bit: the URL
	began   time.Time
}

const tag = "duo"

func opt(key, value string) flbtest.Option { return flbtest.Option{Key: key, Value: value} }

// start starts a host in a folder of its own. The caller calls Kill.
func (l *lab) start(s setting) (*host, error) {
	h := &host{kind: s.kind, dir: l.folder()}
	spec := flbtest.Spec{
		Plugin: l.plugin, Dir: h.dir, CollectEvery: s.collectEvery, DrainEvery: s.collectEvery, LogCollects: s.logCollects,
		Env: append([]string{"HTTPS_PROXY=", "https_proxy=", "FAKE_JOURNAL=" + os.DevNull}, s.env...),
	}
	options := s.options
	if s.duo == nil {
		spec.Plugin = l.fake
	} else {
		options = slices.Concat(options, []flbtest.Option{opt("api_host", s.duo.Addr), opt("integration_key", duotest.IntegrationKey),
			opt("secret_key", duotest.SecretKey), opt("ca_file", s.duo.CA), opt("checkpoint_dir", filepath.Join(h.dir, "checkpoints"))})
	}
	spec.Inputs = []flbtest.Input{{Tag: tag, Options: options}}
	bin, err := l.cHost, error(nil)
	if s.kind == flbtest.FluentBit {
		bin = l.fluentBit
		err = h.configure(&spec, s)
	} else if !s.keep {
		err = discard(filepath.Join(h.dir, "out"))
	}
	if err != nil {
		return nil, err
	}
	h.began = time.Now()
	h.Process, err = flbtest.Start(s.kind, bin, spec)
	return h, err
}

// discard has the C host write what is delivered to nowhere.
func discard(out string) error {
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	return os.Symlink(os.DevNull, filepath.Join(out, tag+".msgpack"))
}

// configure makes the configuration for Fluent Bit.
func (h *host) configure(spec *flbtest.Spec, s setting) error {
	port, err := flbtest.FindPort()
	if err != nil {
		return err
	}
	h.metrics = fmt.Sprintf("http://127.0.0.1:%d/api/v1/metrics", port)
	input, output := s.input, s.output
	if input == nil {
		input = append([]flbtest.Option{opt("name", tag)}, spec.Inputs[0].Options...)
	} else {
		spec.Plugin = ""
	}
	if output == nil {
		output = []flbtest.Option{opt("name", "null")}
	}
	var b strings.Builder
	for _, section := range []struct {
		name    string
		options []flbtest.Option
	}{
		{"SERVICE", []flbtest.Option{
			opt("flush", cmp.Or(s.flush, "0.5")), opt("grace", "1"), opt("http_server", onOff[!s.silent]), opt("http_listen", "127.0.0.1"),
			opt("http_port", strconv.Itoa(port)), opt("parsers_file", filepath.Join(h.dir, "parsers.conf")),
		}},
		{"INPUT", append(input, opt("tag", tag))},
		{"OUTPUT", append(output, opt("match", tag))},
	} {
		fmt.Fprintf(&b, "[%s]\n", section.name)
		for _, o := range section.options {
			fmt.Fprintf(&b, "    %s %s\n", o.Key, o.Value)
		}
	}
	spec.Config, spec.ConfigName = b.String(), "fluent-bit.conf"
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.dir, "parsers.conf"), []byte("[PARSER]\n    name json\n    format json\n"), 0o600)
}

var onOff = map[bool]string{true: "on", false: "off"}

// records is how many the host has got through its outputs so far, or into the C
// host's.
func (h *host) records(ctx context.Context) (int, error) {
	if h.kind == flbtest.CHost {
		if err := h.Command(ctx, "metrics "+tag); err != nil {
			return 0, err
		}
		text, err := os.ReadFile(filepath.Join(h.dir, "out", tag+".prom"))
		return sample(string(text), "fluentbit_input_records_total"), err
	}
	var m struct {
		Output map[string]struct {
			Records int `json:"proc_records"`
		}
	}
	text, err := h.get(ctx, h.metrics)
	if err != nil || len(text) == 0 {
		return 0, nil // not there yet, or not any more, which the caller's limit and the process's state tell
	}
	err = json.Unmarshal(text, &m)
	n := 0
	for _, o := range m.Output {
		n += o.Records
	}
	return n, err
}

func (h *host) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// sample is the sum of a metric's samples in Prometheus' text format.
func sample(text, name string) int {
	sum := 0.0
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{[^}]*\})? (\S+)`).FindAllStringSubmatch(text, -1) {
		v, _ := strconv.ParseFloat(m[1], 64) // 0 for what is no number
		sum += v
	}
	return int(sum)
}

// wait lets real time pass.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// look is how often a host's clock is looked at.
const look = 20 * time.Millisecond

// through waits until n records are through, and tells what that took: all that
// the process has used by then, and how long it was at work, which ends with the
// last time that it was busy for a quarter of a look. Waiting for metrics, which
// Fluent Bit makes once a second, does not count as time.
func (h *host) through(ctx context.Context, n int) (cost, error) {
	c := cost{records: n}
	for i := 0; ; i++ {
		cpu, err := h.CPU()
		if err != nil {
			return c, err
		}
		if cpu-c.cpu > look/4 {
			c.elapsed = time.Since(h.began)
		}
		c.cpu = cpu
		if i%12 == 11 {
			got, err := h.records(ctx)
			if err != nil {
				return c, err
			}
			if got >= n {
				return c, nil
			}
		}
		if err := wait(ctx, look); err != nil {
			return c, fmt.Errorf("%d records: %w; the log ends:\n%s", n, err, tail(h.Log(), 2000))
		}
	}
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }
