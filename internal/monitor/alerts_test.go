package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// alert is one of deploy/prometheus/alerts.yml.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/prometheus/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 10 {
		t.Fatalf("alerts.yml: got %+v, want one group of at least ten alerts", file.Groups)
	}
	return file.Groups[0].Rules
}

// fired are the labels of the alerts that fire in alerts_test.yml, by name.
func fired(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, m := range regexp.MustCompile(`labels: '\{alertname="(\w+)"(.*)\}'`).FindAllStringSubmatch(read(t, "deploy/prometheus/alerts_test.yml"), -1) {
		for _, label := range regexp.MustCompile(`(\w+)=`).FindAllStringSubmatch(m[2], -1) {
			out[m[1]] = append(out[m[1]], label[1])
		}
		out[m[1]] = append(out[m[1]], "")
	}
	return out
}

// TestAlerts asserts what Prometheus does not look at: that each alert fires in
// a scenario, tells where and what to do, and leads to a chapter that is there.
func TestAlerts(t *testing.T) {
	label := regexp.MustCompile(`\$labels\.(\w+)`)
	fired := fired(t)
	for _, a := range alerts(t) {
		t.Run(a.Alert, func(t *testing.T) {
			if fired[a.Alert] == nil {
				t.Error("fires in no scenario of alerts_test.yml")
			}
			if s := a.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("severity %q, want critical or warning", s)
			}
			summary, description := a.Annotations["summary"], a.Annotations["description"]
			if summary == "" || len(description) < 80 || strings.Contains(description, "{{") {
				t.Errorf("summary %q, description %q: want both, the latter with what to do, and as it can stand in a document", summary, description)
			}
			for _, m := range label.FindAllStringSubmatch(summary+description, -1) {
				if !slices.Contains(fired[a.Alert], m[1]) {
					t.Errorf("its text names the label %s, which it does not have when it fires in alerts_test.yml: %q", m[1], fired[a.Alert])
				}
			}
			file, anchor, _ := strings.Cut(a.Annotations["runbook"], "#")
			if !slices.Contains(anchors(read(t, file)), anchor) {
				t.Errorf("runbook %q: there is no such chapter", a.Annotations["runbook"])
			}
		})
	}
}

// anchors are the names by which a document's headlines can be linked to, as
// GitHub makes them.
func anchors(document string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(document, -1) {
		kept := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(kept, " ", "-"))
	}
	return out
}

// TestAlertTable holds the document's table to the alerts.
func TestAlertTable(t *testing.T) {
	const begin, end = "<!-- alerts:begin -->\n", "<!-- alerts:end -->\n"
	const name = "docs/monitoring.md"
	text := read(t, name)
	head, rest, found := strings.Cut(text, begin)
	_, foot, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the alerts", name)
	}
	var table strings.Builder
	table.WriteString("| alert | severity | after | what it says, and what to do |\n|---|---|---|---|\n")
	for _, a := range alerts(t) {
		after := a.For
		if after == "" {
			after = "at once"
		}
		_, runbook, _ := strings.Cut(a.Annotations["runbook"], "/")
		fmt.Fprintf(&table, "| [`%s`](%s) | %s | %s | %s |\n", a.Alert, runbook, a.Labels["severity"], after, a.Annotations["description"])
	}
	want := head + begin + table.String() + end + foot
	if *update {
		if err := os.WriteFile(filepath.Join(root, name), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, read(t, name)); diff != "" {
		t.Errorf("%s is not what alerts.yml makes of it; run go test ./internal/monitor -update (-want +got):\n%s", name, diff)
	}
}
