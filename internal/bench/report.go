package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// row is a line of the table.
type row struct {
	What, Budget, Measured string
	Verdict                verdict
	How                    string
}

// report is the result of a run.
type report struct {
	Time     time.Time
	Machine  string
	Programs string // whose versions count
	Command  string
	Rows     []row
	Failed   []string // measurements that came to no end, and why
	Took     time.Duration
}

// missedAny reports whether a required budget was missed, or could not be
// measured for a fault.
func (r *report) missedAny() bool {
	for _, row := range r.Rows {
		if row.Verdict == missed {
			return true
		}
	}
	return len(r.Failed) > 0
}

// text is the table for a terminal: a paragraph for each row.
func (r *report) text() string {
	var b strings.Builder
	for _, row := range r.Rows {
		mark := string(row.Verdict)
		if mark == "" {
			mark = "information"
		}
		fmt.Fprintf(&b, "%s\n", row.What)
		if row.Budget != "" {
			fmt.Fprintf(&b, "    budget    %s\n", row.Budget)
		}
		fmt.Fprintf(&b, "    measured  %s\n    %-9s %s\n", row.Measured, "verdict", mark)
		fmt.Fprintf(&b, "    how       %s\n", row.How)
	}
	for _, f := range r.Failed {
		fmt.Fprintf(&b, "FAILED: %s\n", f)
	}
	return b.String()
}

// markdown is the table for the documentation.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s by `%s` on %s; %s.\n\n", r.Time.Format("2006-01-02"), r.Command, r.Machine, r.Programs)
	b.WriteString("| what | budget | measured | | how |\n|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(row.What), cell(row.Budget), cell(row.Measured), cell(string(row.Verdict)), cell(row.How))
	}
	for _, f := range r.Failed {
		fmt.Fprintf(&b, "\nNot measured: %s\n", cell(f))
	}
	return b.String()
}

// cell makes a text fit a table's cell.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

// write writes bench.json and bench.md.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "bench.md"), []byte(r.markdown()), 0o644)
}

const docBegin, docEnd = "<!-- bench:begin -->\n", "<!-- bench:end -->"

// inDoc puts a table between the marks of a document.
func inDoc(document, table []byte) ([]byte, error) {
	before, rest, ok := bytes.Cut(document, []byte(docBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(docEnd))
	if !ok || !ok2 {
		return nil, fmt.Errorf("there is no %q … %q", docBegin, docEnd)
	}
	return bytes.Join([][]byte{before, []byte(docBegin), table, []byte(docEnd), after}, nil), nil
}

// writeDoc rewrites the table of a document.
func writeDoc(path, table string) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if document, err = inDoc(document, []byte(table)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, document, 0o644)
}

// machine says what this runs on.
func machine() string {
	model, kernel := runtime.GOARCH, runtime.GOOS
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel += " " + strings.TrimSpace(string(text))
	}
	return fmt.Sprintf("%d processors of type %s, %s", runtime.NumCPU(), model, kernel)
}
