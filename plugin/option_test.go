package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/plugin/option"
)

var update = flag.Bool("update", false, "rewrite the documents that are rendered from code")

// today is the time of every configuration here.
var today = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// config returns an [INPUT]'s settings as Fluent Bit does: names in any case,
// the first of two equal ones, an unset one as "".
func config(text string) option.Getter {
	set := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name = strings.ToLower(name); set[name] == "" {
			set[name] = value
		}
	}
	return func(name string) string { return set[strings.ToLower(name)] }
}

// TestSecretsStayHidden prints whatever holds a secret in every way there is.
func TestSecretsStayHidden(t *testing.T) {
	const secret, password = "tops3cretabcdef0123456789abcdef012345678", "tops3cretpassword"
	get := config("api_host api-00000000.duosecurity.com\nikey DI0000000000000000000\nskey " + secret + "\nproxy http://user:" + password + "@proxy.example.com:3128")
	l, _ := newTestLines(slog.LevelDebug)
	in, err := newInstance("duo.0", get, l, today)
	if err != nil {
		t.Fatal(err)
	}
	o := in.options
	if o.Credentials.SecretKey.Reveal() != secret {
		t.Fatal("the secret was not taken")
	}
	for name, v := range map[string]any{"options": o, "pointer to options": &o, "credentials": o.Credentials, "instance": in, "secret": o.Credentials.SecretKey} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, "tops3cret") || strings.Contains(text, fmt.Sprintf("%x", "tops3cret")) {
				t.Errorf("%s of the %s shows a secret", verb, name)
			}
		}
	}
	text, err := json.Marshal(o.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Host":"api-00000000.duosecurity.com","IntegrationKey":"DI0000000000000000000","SecretKey":"[redacted]","Account":""}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("credentials as JSON (-want +got):\n%s", diff)
	}
	slog.New(l).Info("all", "credentials", o.Credentials, "options", o)
	if line := strings.Join(printed(l), "\n"); strings.Contains(line, "tops3cret") {
		t.Errorf("the log shows a secret: %s", line)
	}
}

// TestReadmeOptions holds the README to the option table; with -update it
// writes the one from the other.
func TestReadmeOptions(t *testing.T) {
	const path, begin, end = "../README.md", "<!-- options:begin -->\n", "<!-- options:end -->"
	readme, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is missing: write it with the lines %q and %q, between which -update puts the table", path, strings.TrimSpace(begin), end)
	} else if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the lines %q and %q, between which -update puts the table", path, strings.TrimSpace(begin), end)
	}
	want := optionsMarkdown()
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, was); diff != "" {
		t.Errorf("%s differs from the options; go test ./plugin -run %s -update rewrites it (-want +got):\n%s", path, t.Name(), diff)
	}
}

// optionsMarkdown renders the option table.
func optionsMarkdown() string {
	var b strings.Builder
	b.WriteString("| option | default | meaning |\n|---|---|---|\n")
	for _, row := range option.Table() {
		def := row.Initial
		if row.Default != "" {
			def = "`" + row.Default + "`"
		}
		help := row.Help
		for _, alias := range row.Aliases {
			help += " Alias `" + alias + "`."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", row.Name, def, strings.ReplaceAll(help, "|", `\|`))
	}
	return b.String()
}
