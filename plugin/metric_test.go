package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMetricsDocument holds docs/monitoring.md to the table of metrics; with
// -update it writes the one from the other.
func TestMetricsDocument(t *testing.T) {
	const path, begin, end = "../docs/monitoring.md", "<!-- metrics:begin -->\n", "<!-- metrics:end -->"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the lines %q and %q, between which -update puts the table", path, strings.TrimSpace(begin), end)
	}
	want := metricsMarkdown()
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, was); diff != "" {
		t.Errorf("%s differs from the metrics; make update rewrites it (-want +got):\n%s", path, diff)
	}
}

// metricsMarkdown renders the table of metrics.
func metricsMarkdown() string {
	var b strings.Builder
	b.WriteString("| metric | kind | labels | meaning | with `account=\"all\"` |\n|---|---|---|---|---|\n")
	for _, m := range metrics {
		kind, all, help := "counter", m.fold.name, m.help
		if m.gauge {
			kind = "gauge"
		}
		if m.ofInput {
			all = ""
		}
		separator := "; by outcome: "
		for _, o := range m.outcomes {
			help += separator + "`" + o.name + "`"
			if separator = ", "; o.means != "" {
				help += " (" + o.means + ")"
			}
		}
		fmt.Fprintf(&b, "| `%s_%s_%s` | %s | %s | %s. | %s |\n", metricPrefix[0], metricPrefix[1], m.name, kind, strings.Join(m.labels(), ", "), help, all)
	}
	return b.String()
}

// A metric's name says its unit, and that it is a counter, as Prometheus has it.
func TestMetricNames(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := map[string]bool{}
	for _, m := range metrics {
		if !name.MatchString(m.name) || seen[m.name] || m.gauge == strings.HasSuffix(m.name, "_total") {
			t.Errorf("%s: not lower case, used twice, or _total is missing or too much", m.name)
		}
		seen[m.name] = true
		if m.help == "" || strings.HasSuffix(m.help, ".") || strings.ContainsAny(m.help, "|\n\\\"") {
			t.Errorf("%s: help %q", m.name, m.help)
		}
		if n := len(m.labels()); n > 4 {
			t.Errorf("%s: %d labels, the C part has room for 4", m.name, n)
		}
	}
}
