package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inFolder writes files into a new folder and returns it.
func inFolder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shape is what was read, in short: a line for each property, expanded.
func shape(c *flbConfig) (lines []string) {
	add := func(name string, s *flbSection) {
		for _, p := range s.props {
			lines = append(lines, fmt.Sprintf("%s %s=%s", name, p.key, c.expand(p.value)))
		}
	}
	add("service", &c.service)
	for name, list := range map[string][]*flbSection{"input": c.inputs, "filter": c.filters, "output": c.outputs} {
		for i, s := range list {
			add(fmt.Sprintf("%s%d", name, i), s)
		}
	}
	slices.Sort(lines)
	return lines
}

func TestReadConfig(t *testing.T) {
	t.Setenv("DUO_TEST_SET", "from the environment")
	for _, tt := range []struct {
		name, main string
		files      map[string]string
		want       []string
	}{
		{"classic", "a.conf", map[string]string{"a.conf": "# x\n\n[SERVICE]\n    Flush 1\r\n    storage.path  /x y \n[input] ignored\n    Name   duo\n    # y\n\n    \n    Tag duo.${DUO_TEST_SET}\n[PARSER]\n    name z\n[OUTPUT]\n    name stdout"},
			[]string{"input0 name=duo", "input0 tag=duo.from the environment", "output0 name=stdout", "service flush=1", "service storage.path=/x y"}},
		{"any name", "a", map[string]string{"a": "[INPUT]\n\tname duo\n\tapi_host  x\n"}, []string{"input0 api_host=x", "input0 name=duo"}},
		{"a group", "a.conf", map[string]string{"a.conf": "[INPUT]\n  name duo\n  [logs ] \n    name lua\n  tag x\n"}, []string{"input0 name=duo", "input0 tag=x"}},
		{"@SET", "a.conf", map[string]string{"a.conf": "[INPUT]\n    name ${p}\n    tag ${t}\n    x ${DUO_TEST_SET}\n@SET p=duo\n@set t= a=b \n@SET DUO_TEST_SET=set\n"},
			[]string{"input0 name=duo", "input0 tag= a=b", "input0 x=set"}},
		{"a variable in a file", "a.conf", map[string]string{"a.conf": "@SET s=file://DIR/secret\n[INPUT]\n    name ${s}\n", "secret": "k3y\n"}, []string{"input0 name=k3y"}},
		{"@INCLUDE", "a.conf", map[string]string{
			"a.conf":     "[INPUT]\n    name one\n@INCLUDE sub/b.conf\n    tag here\n@include sub/c*.conf\n",
			"sub/b.conf": "[INPUT]\n  name two\n@INCLUDE sub/d.conf\n", "sub/d.conf": "[FILTER]\n name four\n",
			"sub/c1.conf": "[OUTPUT]\n name three\n"},
			[]string{"filter0 name=four", "input0 name=one", "input0 tag=here", "input1 name=two", "output0 name=three"}},
		{"YAML", "a.yaml", map[string]string{"a.yaml": "env:\n  p: duo\nservice:\n  flush: 1\n  storage.path: /x\npipeline:\n  inputs:\n    - name: ${p}\n      apiHost: h\n      secret_key: ${DUO_TEST_SET}\n      logs:\n        - activity\n        - telephony\n      since: 0x10\n      processors:\n        logs:\n          - name: lua\n  filters:\n    - name: grep\n  outputs:\n    - name: stdout\n      match: '*'\nparsers:\n  - name: x\n"},
			[]string{"filter0 name=grep", "input0 api_host=h", "input0 logs=activity", "input0 name=duo", "input0 secret_key=from the environment", "input0 since=0x10",
				"output0 match=*", "output0 name=stdout", "service flush=1", "service storage.path=/x"}},
		{"YAML includes", "a.yml", map[string]string{"a.yml": "includes:\n  - sub/b.yaml\n  - sub/c*.yaml\n", "sub/b.yaml": "includes: [d.yaml]\n", "sub/d.yaml": "pipeline: {inputs: [{name: duo}]}", "sub/c1.yaml": "service: {flush: 2}"},
			[]string{"input0 name=duo", "service flush=2"}},
		{"YAML documents", "a.yaml", map[string]string{"a.yaml": "---\nservice: {flush: 1}\n---\npipeline: {inputs: [{name: duo}]}\n"}, []string{"input0 name=duo", "service flush=1"}},
		{"nothing", "a.yaml", map[string]string{"a.yaml": ""}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := inFolder(t, tt.files)
			main := filepath.Join(dir, tt.main)
			text, err := os.ReadFile(main)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(main, bytes.ReplaceAll(text, []byte("DIR"), []byte(dir)), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := readConfig(main)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, shape(c)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What Fluent Bit would not start with is refused by its place, and no value is repeated.
func TestReadConfigProblems(t *testing.T) {
	for _, tt := range []struct {
		name, main, text, want string
	}{
		{"no such file", "b.conf", "", "no such file"},
		{"no value", "a.conf", "[INPUT]\n    hunter2\n", "a.conf:2: a key, one blank at least, and a value"},
		{"a tab behind the key", "a.conf", "[INPUT]\n    name\thunter2\n", "a.conf:2: a key, one blank at least"},
		{"no section", "a.conf", "    name hunter2\n", "a.conf:1: this stands before the first section"},
		{"no indentation", "a.conf", "[INPUT]\n    name duo\ntag hunter2\n", "a.conf:3: a key stands below its section"},
		{"no indentation at all", "a.conf", "[INPUT]\nname hunter2\n", "a.conf:2: a key stands below its section"},
		{"other indentation", "a.conf", "[INPUT]\n    name duo\n\ttag hunter2\n", "a.conf:3: the indentation is not that of"},
		{"deeper indentation", "a.conf", "[INPUT]\n    name duo\n       tag hunter2\n", "a.conf:3: the indentation is deeper"},
		{"an open bracket", "a.conf", "[INPUT\n", "a.conf:1: a section's name is in brackets"},
		{"a byte of value 0", "a.conf", "[INPUT]\n    name d\x00uo\n", "a.conf:2: a byte of value 0"},
		{"includes itself", "a.conf", "@INCLUDE a.conf\n", "a.conf:1: @INCLUDE: "},
		{"includes nothing", "a.conf", "@INCLUDE x*.conf\n", "a.conf:1: @INCLUDE: there is no file"},
		{"an empty secret", "a.conf", "@SET s=file:///dev/null\n", "a.conf:1: @SET: /dev/null is not a file"},
		{"a byte order mark", "a.conf", "\uFEFF[INPUT]\n    name duo\n", "a.conf begins with a byte order mark"},
		{"a folder", ".", "", "is not a file of at most 1024 KiB"},
		{"not YAML", "a.yaml", "a: [hunter2\n", "a.yaml: not YAML: see line"},
		{"YAML of another shape", "a.yaml", "- hunter2\n", "a.yaml:1: an object is expected"},
		{"inputs that are no list", "a.yaml", "pipeline:\n  inputs:\n    name: hunter2\n", "a.yaml:3: inputs is a list"},
		{"services", "a.yaml", "service: {flush: 1}\nservice: {grace: hunter2}\n", "a.yaml:2: service is at "},
		{"a service in each document", "a.yaml", "service: {flush: 1}\n---\nservice: {grace: hunter2}\n", "a.yaml:3: service is at "},
		{"one input", "a.yaml", "pipeline:\n  input:\n    - name: hunter2\n", "a.yaml:3: a pipeline has inputs"},
		{"a variable that is a list", "a.yaml", "env:\n  a: [hunter2]\n", "a.yaml:2: env: a value is expected"},
		{"an alias", "a.yaml", "x: &x hunter2\nservice: *x\n", "a.yaml:2: Fluent Bit knows no aliases"},
		{"YAML that includes itself", "a.yaml", "includes: [a.yaml]\n", "is included twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := tt.main
			if name == "b.conf" || name == "." {
				name = "a.conf"
			}
			dir := inFolder(t, map[string]string{name: tt.text})
			_, err := readConfig(filepath.Join(dir, tt.main))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// expansions are values as they may stand in a configuration.
var expansions = []string{
	"plain", "${DUO_TEST_A}", "x${DUO_TEST_A}y", "${DUO_TEST_A}${DUO_TEST_A}", "${DUO_TEST_NONE}", "x${DUO_TEST_NONE}y", "${DUO_TEST_NONE:-d}",
	"${DUO_TEST_A:-d}", "${DUO_TEST_EMPTY:-d}", "x${DUO_TEST_EMPTY}y", "${DUO_TEST_NONE:-}x", "${DUO_TEST_NONE:d}x", "${DUO_TEST_A", "x${DUO_TEST_A}y${DUO_TEST_A", "a}b${DUO_TEST_A}c",
	"${DUO_TEST_A}x}y${DUO_TEST_A}z", "${}x", "$DUO_TEST_A", "${DUO_TEST_A}$", "${DUO_TEST_NONE:-a:-b}",
}

func expansionConfig(t *testing.T) *flbConfig {
	t.Setenv("DUO_TEST_A", "value")
	t.Setenv("DUO_TEST_EMPTY", "")
	return &flbConfig{vars: map[string]string{}, unset: map[string]bool{}}
}

func TestExpand(t *testing.T) {
	c := expansionConfig(t)
	want := []string{
		"plain", "value", "xvaluey", "valuevalue", "", "xy", "d",
		"value", "d", "xy", "x", "x", "${DUO_TEST_A", "xvalue", "a}b${DUO_TEST_A}c",
		"valuey${DUO_TEST_A}z", "${}x", "$DUO_TEST_A", "value$", "a:-b",
	}
	var got []string
	for _, v := range expansions {
		got = append(got, c.expand(v))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !c.unset["DUO_TEST_NONE"] || c.unset["DUO_TEST_A"] {
		t.Errorf("unset are %v", c.unset)
	}
}

// Fluent Bit itself expands the same values to the same text.
func TestExpandAsFluentBit(t *testing.T) {
	name := os.Getenv("FLUENT_BIT")
	if name == "" {
		name = "fluent-bit"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("NO FLUENT BIT: whether it expands variables as duoctl check does was not tried")
	}
	c := expansionConfig(t)
	var conf strings.Builder
	conf.WriteString("[SERVICE]\n    flush 0.2\n    grace 1\n")
	want := map[string]string{}
	for i, v := range expansions {
		tag := fmt.Sprintf("t%02d", i)
		fmt.Fprintf(&conf, "[INPUT]\n    name dummy\n    tag %s\n    samples 1\n    dummy {\"t\":\"%s\"}\n", tag, tag)
		fmt.Fprintf(&conf, "[FILTER]\n    name record_modifier\n    match %s\n    record v <%s>\n", tag, v)
		want[tag] = strings.TrimPrefix(c.expand("v <"+v+">"), "v ")
	}
	conf.WriteString("[OUTPUT]\n    name stdout\n    match *\n    format json_lines\n    json_date_key false\n")
	dir := inFolder(t, map[string]string{"a.conf": conf.String()})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-q", "-c", filepath.Join(dir, "a.conf"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := json.NewDecoder(out)
	for n := 0; n < len(expansions); n++ {
		var r struct{ V, T string }
		if err := lines.Decode(&r); err != nil {
			t.Fatalf("after %d records: %v", n, err)
		}
		if r.V != want[r.T] {
			t.Errorf("%s: Fluent Bit expands to %q, duoctl to %q", r.T, r.V, want[r.T])
		}
	}
}

// FuzzReadConfig: a configuration of any kind is read or refused, in bounds, and none of its values are in what is said.
func FuzzReadConfig(f *testing.F) {
	f.Add(true, "[INPUT]\n    name duo\n    tag ${X:-y}\n@SET X=hunter2\n")
	f.Add(true, "[SERVICE]\n\tflush 1\n\t[group x]\n\t\tkey hunter2\n")
	f.Add(false, "env: {a: hunter2}\npipeline:\n  inputs:\n    - name: duo\n      logs: [a, b]\n")
	f.Add(false, "a: &a [*a, hunter2]\n? x\n")
	f.Fuzz(func(t *testing.T, classic bool, text string) {
		if lower := strings.ToLower(text); strings.Contains(lower, "include") || strings.Contains(lower, "file:") {
			t.Skip() // not every file there is may be opened
		}
		name := map[bool]string{true: "a.conf", false: "a.yaml"}[classic]
		c, err := readConfig(filepath.Join(inFolder(t, map[string]string{name: text}), name))
		if err != nil {
			if n := len(err.Error()); n > 1000 {
				t.Errorf("an error of %d bytes", n)
			}
			return
		}
		for _, line := range shape(c) {
			if len(line) > len(text)+5000 {
				t.Errorf("%d bytes became a line of %d", len(text), len(line))
			}
		}
		c.ours()
	})
}
