package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"duo_in/plugin/option"
)

// Bounds of what is read of a configuration.
const (
	maxConfFile  = 1 << 20 // bytes
	maxConfFiles = 100     // with those that are included
)

// flbConfig is a Fluent Bit configuration, as far as duo_in has to do with it.
type flbConfig struct {
	service                  flbSection
	inputs, filters, outputs []*flbSection
	vars                     map[string]string // of @SET and env:, which come before the environment
	unset                    map[string]bool   // variables that were asked for and are not there
	notes                    []string          // what has no effect

	root  string   // the folder of the file that all began with
	files []string // that were read
}

// flbSection is a section, or in YAML a plugin's object.
type flbSection struct {
	place string // file:line
	props []flbProp
}

// flbProp is a key, in lower case, with its value, not expanded. Of a list it is the first item, which is all that Fluent
// Bit passes on to a plugin.
type flbProp struct {
	key, value string
	items      int // of a list; 0: it is none
}

// readConfig reads a configuration as Fluent Bit does: in YAML if its name ends so, else in classic mode. What it says of a
// file it says by place, and repeats no value: one may be a secret.
func readConfig(path string) (*flbConfig, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	c := &flbConfig{vars: map[string]string{}, unset: map[string]bool{}, root: filepath.Dir(full)}
	if ext := strings.ToLower(filepath.Ext(path)); ext == ".yaml" || ext == ".yml" {
		return c, c.readYAML(path)
	}
	return c, c.readClassic(path)
}

// open returns what is in a file, once for each file.
func (c *flbConfig) open(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	for _, read := range c.files {
		if read == real {
			return nil, fmt.Errorf("%s is included twice, which Fluent Bit refuses", path)
		}
	}
	if c.files = append(c.files, real); len(c.files) > maxConfFiles {
		return nil, fmt.Errorf("%s: more than %d files are included", path, maxConfFiles)
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfFile {
		return nil, fmt.Errorf("%s is not a file of at most %d KiB", path, maxConfFile>>10)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfFile))
}

// set defines a variable, as @SET and env: do. A value file://PATH stands for what is in that file (src/flb_env.c:flb_env_set).
func (c *flbConfig) set(key, value string) error {
	path, ok := strings.CutPrefix(value, "file://")
	if !ok || path == "" {
		c.vars[key] = value
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxConfFile) {
		err = fmt.Errorf("%s is not a file of at most %d KiB", path, maxConfFile>>10)
	}
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := len(b); n > 0 && (b[n-1] == '\n' || b[n-1] == '\r') {
		b = b[:n-1]
	}
	if len(b) == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	c.vars[key] = string(b)
	return nil
}

// lookup returns a variable; an empty one of the environment counts as unset.
func (c *flbConfig) lookup(name string) (string, bool) {
	if v, ok := c.vars[name]; ok {
		return v, true
	}
	v := os.Getenv(name)
	if v == "" && name == "HOSTNAME" {
		v, _ = os.Hostname()
	}
	return v, v != ""
}

// maxVariable is how long a variable's name with its default may be (src/flb_env.c:flb_env_var_translate).
const maxVariable = 4095

// expand replaces ${NAME} and ${NAME:-default} as Fluent Bit does, which is odd where braces do not match.
func (c *flbConfig) expand(value string) string {
	var out strings.Builder
	rest, last, any := value, -1, false // last: where the last brace closed that was looked at, in rest
	for {
		open, shut := strings.Index(rest, "${"), strings.Index(rest, "}")
		if open < 0 {
			last = -1
			break
		}
		if last = shut; shut < 0 {
			rest = ""
			break
		}
		if n := shut - open - 2; n <= 0 || n > maxVariable {
			break
		}
		any = true
		out.WriteString(rest[:open])
		name, fallback, hasFallback := rest[open+2:shut], "", false
		if n, def, ok := strings.Cut(name, ":"); ok && strings.HasPrefix(def, "-") {
			name, fallback, hasFallback = n, def[1:], true
		}
		switch v, ok := c.lookup(name); {
		case ok && (v != "" || !hasFallback):
			out.WriteString(v)
		case hasFallback:
			out.WriteString(fallback)
		default:
			c.unset[name] = true
		}
		rest = rest[shut+1:]
	}
	if !any {
		return value
	}
	return out.String() + rest[last+1:]
}

// first returns the value of the first property of that name, expanded; "" for none. So Fluent Bit looks up what is a plugin's.
func (c *flbConfig) first(s *flbSection, key string) string {
	for _, p := range s.props {
		if strings.EqualFold(p.key, key) {
			return c.expand(p.value)
		}
	}
	return ""
}

// last is first for what is Fluent Bit's own: of two the second counts.
func (c *flbConfig) last(s *flbSection, key string) (v string) {
	for _, p := range s.props {
		if strings.EqualFold(p.key, key) {
			v = c.expand(p.value)
		}
	}
	return v
}

// getter is how a plugin sees its section.
func (c *flbConfig) getter(s *flbSection) option.Getter {
	return func(name string) string { return c.first(s, name) }
}

// ours returns the sections that are duo_in's.
func (c *flbConfig) ours() (inputs []*flbSection) {
	for _, s := range c.inputs {
		if strings.EqualFold(c.first(s, "name"), "duo") {
			inputs = append(inputs, s)
		}
	}
	return inputs
}

// readClassic reads a file in classic mode (src/config_format/flb_cf_fluentbit.c:read_config).
func (c *flbConfig) readClassic(path string) error {
	text, err := c.open(path)
	if err != nil {
		return err
	}
	r := classicReader{config: c, path: path}
	if bytes.HasPrefix(text, []byte("\uFEFF")) {
		return fmt.Errorf("%s begins with a byte order mark: save it as UTF-8 without one", path)
	}
	for line := range strings.Lines(string(text)) {
		r.line++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if nul := strings.IndexByte(line, 0); nul >= 0 {
			return fmt.Errorf("%s: a byte of value 0: save it as UTF-8", r.place())
		}
		if err := r.read(line); err != nil {
			return err
		}
	}
	return nil
}

// classicReader is where a file in classic mode is being read.
type classicReader struct {
	config  *flbConfig
	path    string
	line    int
	section *flbSection // nil: none that counts
	inside  bool        // of any section
	indent  string      // of the first key
	group   bool        // within a group of a section
}

func (r *classicReader) place() string { return fmt.Sprintf("%s:%d", r.path, r.line) }

func (r *classicReader) read(line string) error {
	include := len(line) > 9 && strings.EqualFold(line[:9], "@include ")
	switch {
	case line == "", line[0] == '#':
		return nil
	case include:
		if err := r.include(line[9:]); err != nil {
			return fmt.Errorf("%s: @INCLUDE: %w", r.place(), err)
		}
		return nil
	case line[0] == '@' && len(line) > 3:
		return r.command(line[1:])
	case line[0] == '[':
		name, _, ok := strings.Cut(line[1:], "]")
		if !ok || name == "" {
			return fmt.Errorf("%s: a section's name is in brackets, such as [INPUT]", r.place())
		}
		r.section, r.inside, r.group = r.config.section(name, r.place()), true, false
		return nil
	}
	return r.property(line)
}

// property reads a line within a section.
func (r *classicReader) property(line string) error {
	const blanks = " \t"
	text := strings.TrimLeft(line, blanks)
	indent := line[:len(line)-len(text)]
	if r.indent == "" {
		r.indent = indent
	}
	switch {
	case strings.HasPrefix(indent, r.indent) && (text == "" || text[0] == '#' && indent == r.indent):
		return nil
	case indent == "":
		return fmt.Errorf("%s: a key stands below its section, behind blanks", r.place())
	case indent == r.indent:
		r.group = false
	case !strings.HasPrefix(indent, r.indent):
		return fmt.Errorf("%s: the indentation is not that of the lines before, in blanks and tabs", r.place())
	case len(indent) != 2*len(r.indent):
		return fmt.Errorf("%s: the indentation is deeper than that of the lines before", r.place())
	}
	key, value, ok := strings.Cut(text, " ")
	switch {
	case !ok, value == "":
		return fmt.Errorf("%s: a key, one blank at least, and a value are expected", r.place())
	case !r.inside:
		return fmt.Errorf("%s: this stands before the first section", r.place())
	case key[0] == '[':
		r.group = true
	case r.section != nil && !r.group:
		r.section.props = append(r.section.props, flbProp{key: strings.ToLower(strings.TrimSpace(key)), value: strings.TrimSpace(value)})
	}
	return nil
}

// command reads what follows an @.
func (r *classicReader) command(line string) error {
	name, rest, ok := strings.Cut(line, " ")
	switch key, value, isSet := strings.Cut(rest, "="); {
	case !ok:
		return fmt.Errorf("%s: @%s has no value", r.place(), name)
	case !strings.EqualFold(name, "set"):
		r.config.notes = append(r.config.notes, fmt.Sprintf("%s: @%s is not known to Fluent Bit, and has no effect", r.place(), name))
	case !isSet:
		r.config.notes = append(r.config.notes, fmt.Sprintf("%s: @SET takes NAME=VALUE; this one has no effect", r.place()))
	default:
		// The line was trimmed before it was taken apart.
		if err := r.config.set(strings.TrimLeft(key, " \t"), strings.TrimRight(value, " \t")); err != nil {
			return fmt.Errorf("%s: @SET: %w", r.place(), err)
		}
	}
	return nil
}

// include reads a file, or those of a pattern: what has no folder is looked for here, else beside the first file.
func (r *classicReader) include(name string) error {
	beside := name
	if !filepath.IsAbs(name) {
		beside = filepath.Join(r.config.root, name)
	}
	if !strings.Contains(name, "*") {
		if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
			name = beside
		}
		return r.config.readClassic(name)
	}
	return glob(beside, r.config.readClassic)
}

// glob reads the files of a pattern.
func glob(pattern string, read func(path string) error) error {
	paths, err := filepath.Glob(pattern)
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("there is no file %s", pattern)
	}
	for _, path := range paths {
		if err == nil {
			err = read(path)
		}
	}
	return err
}

// section begins a section and returns it, nil for one that duo_in has nothing to do with. Of [SERVICE] there is one.
func (c *flbConfig) section(name, place string) *flbSection {
	list := map[string]*[]*flbSection{"input": &c.inputs, "filter": &c.filters, "output": &c.outputs}[strings.ToLower(name)]
	switch {
	case strings.EqualFold(name, "service"):
		if c.service.place == "" {
			c.service.place = place
		}
		return &c.service
	case list == nil:
		return nil
	}
	s := &flbSection{place: place}
	*list = append(*list, s)
	return s
}
