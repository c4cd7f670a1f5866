package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const example = "fluent-bit.conf.example"

// commented matches the lines that are choices, #key value, and not prose.
var commented = regexp.MustCompile(`(?m)^(\s*)#(\[|\s*[a-z_.]+\s{2,})`)

// everything is the example with all its choices taken.
func everything(t *testing.T) string {
	return commented.ReplaceAllString(read(t, example), "$1$2")
}

// section is one [NAME] of a configuration in Fluent Bit's classic form.
type section struct {
	name     string
	settings map[string]string
}

func parse(t *testing.T, config string) (sections []section) {
	t.Helper()
	for _, line := range strings.Split(config, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			sections = append(sections, section{strings.Trim(line, "[]"), map[string]string{}})
		default:
			key, value, _ := strings.Cut(line, " ")
			sections[len(sections)-1].settings[key] = strings.TrimSpace(value)
		}
	}
	return sections
}

// hosts are the keys of an [INPUT] that Fluent Bit keeps for itself, as far as
// the example has them.
var hosts = []string{"name", "tag", "storage.type"}

func TestExampleOptionsExist(t *testing.T) {
	var known []string
	for _, row := range table(t, "| option |") {
		for _, name := range codeSpan.FindAllStringSubmatch(row[0], -1) {
			known = append(known, name[1])
		}
	}
	if len(known) < 10 {
		t.Fatalf("the README has the options %q", known)
	}
	seen := 0
	for _, s := range parse(t, everything(t)) {
		for key := range s.settings {
			if s.name != "INPUT" || slices.Contains(hosts, key) {
				continue
			}
			if seen++; !slices.Contains(known, key) {
				t.Errorf("%s: %s is not in the README's table of options", example, key)
			}
		}
	}
	if seen < 10 {
		t.Errorf("%s: only %d options found, commented ones included", example, seen)
	}
}

// TestExampleIsSafe holds what keeps events from being lost.
func TestExampleIsSafe(t *testing.T) {
	for name, config := range map[string]string{"as it is": read(t, example), "with all choices": everything(t)} {
		t.Run(name, func(t *testing.T) {
			names := map[string]int{}
			var state []string
			for _, s := range parse(t, config) {
				names[s.name]++
				want := map[string]map[string]string{
					"SERVICE": {"storage.checksum": "off"},
					"INPUT":   {"name": "duo", "storage.type": "filesystem", "secret_key": "${DUO_SECRET_KEY}"},
					"OUTPUT":  {"match": "duo", "retry_limit": "no_limits"},
				}[s.name]
				for key, value := range want {
					if got := s.settings[key]; got != value {
						t.Errorf("[%s] %s: %s is %q, want %q", s.name, s.settings["name"], key, got, value)
					}
				}
				// tls.verify alone takes a certificate for any name.
				if s.settings["tls"] == "on" && (s.settings["tls.verify"] != "on" || s.settings["tls.verify_hostname"] != "on") {
					t.Errorf("[%s] %s: the certificate is not verified", s.name, s.settings["name"])
				}
				for _, key := range []string{"storage.path", "checkpoint_dir"} {
					if v := s.settings[key]; v != "" {
						state = append(state, v)
					}
				}
			}
			if diff := cmp.Diff([]string{"/var/lib/duo_in/storage", "/var/lib/duo_in"}, state); diff != "" {
				t.Errorf("where events wait, where cursors are: not on one volume (-want +got):\n%s", diff)
			}
			if names["SERVICE"] != 1 || names["INPUT"] != 1 || names["OUTPUT"] < 1 {
				t.Errorf("sections %v", names)
			}
		})
	}
}
