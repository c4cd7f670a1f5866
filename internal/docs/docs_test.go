package docs

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo"
)

// read returns a file of the module's root.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// table returns the rows of a README's table, see tableOf.
func table(t *testing.T, head string) [][]string { return tableOf(t, "README.md", head) }

// tableOf returns the rows of a page's table, which is found by the words its
// head begins with; cells are as they are written.
func tableOf(t *testing.T, page, head string) (rows [][]string) {
	t.Helper()
	_, rest, found := strings.Cut(read(t, page), "\n"+head)
	if !found {
		t.Fatalf("%s has no table that begins with %q", page, head)
	}
	for i, line := range strings.Split(rest, "\n") {
		if i < 2 { // the rest of the head, and the line below it
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		var row []string
		for _, cell := range strings.Split(strings.Trim(line, "|"), "|") {
			row = append(row, strings.TrimSpace(cell))
		}
		rows = append(rows, row)
	}
	return rows
}

func TestLogs(t *testing.T) {
	code := func(names ...string) string {
		for i, n := range names {
			names[i] = "`" + n + "`"
		}
		return strings.Join(names, ", ")
	}
	var got, want [][]string
	for _, row := range table(t, "| `logs` | also called |") {
		got = append(got, []string{row[0], row[1], row[3], row[4]})
	}
	for _, l := range duo.Logs() {
		var id []string
		if l.ID != "" {
			id = []string{l.ID}
		}
		want = append(want, []string{code(l.Name), code(slices.Clone(l.Aliases)...), code(l.Path), code(id...)})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("logs (-code +README):\n%s", diff)
	}
}

// TestRecord holds the README's record to the rule that event_id is made by:
// Duo's id, and the first 64 bits of the SHA-256 of what Duo sent, its keys
// sorted. A change of the rule makes every event look new.
func TestRecord(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, "README.md"), "```json\n")
	text, _, found := strings.Cut(rest, "```")
	var record map[string]any
	if err := json.Unmarshal([]byte(text), &record); err != nil || !found {
		t.Fatal(err)
	}
	id := record["event_id"]
	for _, added := range []string{"eventtype", "host", "event_id"} {
		delete(record, added)
	}
	var sorted bytes.Buffer
	enc := json.NewEncoder(&sorted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(record); err != nil {
		t.Fatal(err)
	}
	raw := bytes.TrimSpace(sorted.Bytes())
	want := fmt.Sprintf("%s-%x", record["txid"], sha256.Sum256(raw))[:len("340a23e3-23f3-23c1-87dc-1491a23dfdbb")+17]
	if id != want {
		t.Errorf("the README's record has event_id %v, want %v", id, want)
	}
	log, err := duo.LookupLog("authentication")
	if err != nil {
		t.Fatal(err)
	}
	page, err := duo.ParsePage(log, fmt.Appendf(nil, `{"response": {"authlogs": [%s]}}`, raw))
	if err != nil {
		t.Fatal(err)
	}
	_, records, err := duo.NewCursor(page.Records[0].Time, page.Records[0].Time).Advance(log, page, duo.Window{}, 1000, page.Records[0].Time)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 || records[0].EventID != id {
		t.Errorf("duo_in makes %+v of it, the README has event_id %v", records, id)
	}
}

func TestDependencies(t *testing.T) {
	var got, want []string
	for _, row := range table(t, "| module |") {
		got = append(got, strings.Trim(row[0], "`"))
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:require)?\s+(\S+) v\S+$`).FindAllStringSubmatch(read(t, "go.mod"), -1) {
		want = append(want, m[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("direct dependencies (-go.mod +README):\n%s", diff)
	}
}

// TestTargets holds what the README and CI run to what the Makefile has.
func TestTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, name := range []string{"README.md", "CHANGELOG.md", ".ci/run"} {
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z]+)").FindAllStringSubmatch(read(t, name), -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:.*## \S`).MatchString(makefile) {
				t.Errorf("%s: make %s: there is no such target, or it has no help", name, m[1])
			}
		}
	}
}

// TestTroubleshooting holds that the log lines that the README explains are
// those that the code writes.
func TestTroubleshooting(t *testing.T) {
	var code strings.Builder
	for _, folder := range []string{"duo", "plugin", "plugin/option", "checkpoint"} {
		files, err := filepath.Glob(filepath.Join("..", "..", folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(folder, err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				code.WriteString(read(t, filepath.Join(folder, filepath.Base(f))))
			}
		}
	}
	for _, row := range table(t, "| what the log says |") {
		line := codeSpan.FindStringSubmatch(row[0])
		if line == nil {
			t.Fatalf("no log line in %q", row[0])
		}
		fixed, _, _ := strings.Cut(line[1], "…")
		fixed, _, _ = strings.Cut(fixed, "(HTTP")
		if fixed = strings.TrimSpace(fixed); !strings.Contains(code.String(), fixed) {
			t.Errorf("no code writes %q", fixed)
		}
	}
}

func TestLinks(t *testing.T) {
	for _, name := range []string{"README.md", "CHANGELOG.md"} {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(read(t, name), -1) {
			if _, err := os.Stat(filepath.Join("..", "..", m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	}
}
