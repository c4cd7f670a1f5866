package flbtest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Kind is which host runs the plugin.
type Kind int

const (
	CHost     Kind = iota // plugin/testdata/flbhost/host.c
	FluentBit             // a real fluent-bit, 4.0 or newer
)

func (k Kind) String() string {
	if k == FluentBit {
		return "fluent-bit"
	}
	return "flbhost"
}

// Option is one line of a section; the order of options is kept, and so are
// repetitions.
type Option struct{ Key, Value string }

// Input is one [INPUT]. Its tag is also the name of its output, so it holds
// only letters, digits, dots, dashes and underscores.
type Input struct {
	Tag     string
	Options []Option // written as they are; ${ENV} is the host's to expand
}

// Spec is one scenario. Plugin, Dir and at least one input, or a Config, are
// required; with a Config, Fluent Bit can be alone, without a Plugin.
type Spec struct {
	Plugin string // path of duo_in.so, or LinkedIn
	Dir    string // configuration, out/ and storage/; kept from one start to the next
	Inputs []Input
	Env    []string // KEY=VALUE, besides the environment of this process

	// Grace is the period of the C host's tick between the first Pause and the
	// exit, which comes after 0 to Grace, as Fluent Bit's comes after 0 to 1 s;
	// 0 is 1 s. Fluent Bit waits for so many ticks, 5 unless set, while it has
	// records to deliver.
	Grace time.Duration

	HotReload bool      // Fluent Bit: -Y, so that SIGHUP reloads. The C host reloads in any case
	Stdout    io.Writer // gets the process's output as well; nil for none
	Stderr    io.Writer

	Platform Platform // C host: another than this machine's, by what runs its programs here

	CollectEvery time.Duration // C host: how often the plugin is asked; 0 is 1 s, as in Fluent Bit
	DrainEvery   time.Duration // C host: how often the main thread takes what was collected; 0 is 250 ms, as in Fluent Bit
	LogCollects  bool          // C host: log each call of the collect callback that brought something, see Process.Collects
	OldLayout    bool          // C host: be Fluent Bit before 4.1
	Metrics      string        // C host: off for one that counts no records, half for one that counts wrong; "" is on
	PauseOwn     bool          // C host: a pause stops the paused input's collector, not the last one's as in Fluent Bit

	// Config is Fluent Bit's configuration as it is, in place of one that is made
	// from Inputs and the fields below; ConfigName is its file's name, whose
	// ending says which of Fluent Bit's two forms it has.
	Config, ConfigName string

	Service       []Option   // Fluent Bit: more lines of [SERVICE]
	Filters       [][]Option // Fluent Bit: a [FILTER] each
	MemoryStorage bool       // Fluent Bit: no storage.type filesystem
}

// pluginName is the name that the plugin registers itself by.
const pluginName = "duo"

var tagPattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func (s Spec) validate() error {
	if s.Dir == "" || s.Config == "" && (s.Plugin == "" || len(s.Inputs) == 0) {
		return errors.New("spec: Plugin, Dir and at least one input, or a Config, are required")
	}
	if (s.Config == "") != (s.ConfigName == "") || strings.Contains(s.ConfigName, "/") {
		return fmt.Errorf("spec: ConfigName %q: must be the name of the Config's file, and none without one", s.ConfigName)
	}
	// src/flb_plugin.c takes flb-in_name.so for one of its own and looks up other symbols.
	if strings.HasPrefix(filepath.Base(s.Plugin), "flb-") {
		return fmt.Errorf("spec: plugin %q: Fluent Bit reserves the prefix flb-; rename the file", s.Plugin)
	}
	seen := map[string]bool{}
	for _, in := range s.Inputs {
		if !tagPattern.MatchString(in.Tag) {
			return fmt.Errorf("spec: tag %q: must match %v", in.Tag, tagPattern)
		}
		if seen[in.Tag] {
			return fmt.Errorf("spec: tag %q: used twice", in.Tag)
		}
		seen[in.Tag] = true
		if err := validateOptions(in.Options); err != nil {
			return fmt.Errorf("spec: input %s: %w", in.Tag, err)
		}
	}
	if err := validateOptions(s.Service); err != nil {
		return fmt.Errorf("spec: service: %w", err)
	}
	return nil
}

func validateOptions(options []Option) error {
	for _, o := range options {
		switch {
		case o.Key == "" || strings.ContainsAny(o.Key, " \t\r\n[]#@"):
			return fmt.Errorf("option key %q: must be one word", o.Key)
		case strings.TrimSpace(o.Value) == "":
			return fmt.Errorf("option %s: has no value; leave it out", o.Key)
		case strings.ContainsAny(o.Value, "\r\n"):
			return fmt.Errorf("option %s: its value has more than one line", o.Key)
		}
	}
	return nil
}

// sections writes Fluent Bit's classic configuration.
type sections struct{ bytes.Buffer }

func (c *sections) section(name string, groups ...[]Option) {
	fmt.Fprintf(c, "[%s]\n", name)
	for _, options := range groups {
		for _, o := range options {
			fmt.Fprintf(c, "    %s %s\n", o.Key, o.Value)
		}
	}
}

// config is the host's configuration; s is valid and its paths are absolute.
func (s Spec) config(kind Kind) []byte {
	if kind == FluentBit {
		return s.fluentBitConfig()
	}
	return s.cHostConfig()
}

func (s Spec) cHostConfig() []byte {
	choose := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	ms := func(d, usual time.Duration) string {
		if d <= 0 {
			d = usual
		}
		return fmt.Sprint(max(d.Milliseconds(), 1))
	}
	var c sections
	c.section("service", []Option{
		{"plugin", s.Plugin},
		{"out", filepath.Join(s.Dir, "out")},
		{"layout", choose(s.OldLayout, "old", "new")},
		{"pause", choose(s.PauseOwn, "own", "last")},
		{"metrics", cmp.Or(s.Metrics, "on")},
		{"hot_reload", choose(s.HotReload, "on", "off")},
		{"grace_ms", ms(s.Grace, time.Second)},
		{"collect_ms", ms(s.CollectEvery, time.Second)},
		{"drain_ms", ms(s.DrainEvery, 250*time.Millisecond)},
		{"times", choose(s.LogCollects, "on", "off")},
	})
	for _, in := range s.Inputs {
		c.section("input", []Option{{"name", pluginName}, {"tag", in.Tag}}, in.Options)
	}
	return c.Bytes()
}

func (s Spec) fluentBitConfig() []byte {
	grace := 5 * time.Second
	if s.Grace > 0 {
		grace = s.Grace
	}
	storage := "filesystem"
	if s.MemoryStorage {
		storage = "memory"
	}
	var c sections
	c.section("SERVICE", []Option{
		{"flush", "0.5"},
		{"grace", fmt.Sprint(int64((grace + time.Second - 1) / time.Second))},
		{"daemon", "off"},
		{"http_server", "off"},
		{"log_level", "info"},
		{"storage.path", filepath.Join(s.Dir, "storage")},
		{"storage.checksum", "off"},
	}, s.Service)
	for _, in := range s.Inputs {
		c.section("INPUT", []Option{{"name", pluginName}, {"tag", in.Tag}, {"storage.type", storage}}, in.Options)
	}
	for _, f := range s.Filters {
		c.section("FILTER", f)
	}
	for _, in := range s.Inputs {
		c.section("OUTPUT", []Option{
			{"name", "file"},
			{"match", in.Tag},
			{"path", filepath.Join(s.Dir, "out")},
			{"file", in.Tag},
			{"retry_limit", "no_limits"},
		})
	}
	return c.Bytes()
}
