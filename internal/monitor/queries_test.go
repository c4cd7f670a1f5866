package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// queries are all that the dashboards ask, with all chosen that can be.
func queries() (out []string) {
	chosen := strings.NewReplacer("$__rate_interval", "2m", "$__range", "1h", "$job", ".*", "$instance", ".*", "$input", "duo", "$log", ".*", "$account", ".*")
	for _, r := range dashboard {
		for _, line := range r.panels {
			for _, p := range line {
				for _, q := range p.queries {
					out = append(out, chosen.Replace(q.expr))
				}
			}
		}
	}
	return out
}

// sample is a line of testdata/scrape.txt: what Fluent Bit served of an input
// with the alias duo and of an output.
var sample = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? (\S+)$`)

// TestQueries asks Prometheus all queries of the dashboards about a Fluent Bit
// whose metrics grow by 1 a minute: it must understand each, and find something.
func TestQueries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, lines []string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []string{"rule_files: [rules.yml]", "evaluation_interval: 1m", "tests:", "- interval: 1m", "  input_series:"}
	scrape := sample.FindAllStringSubmatch(read(t, "internal/monitor/testdata/scrape.txt"), -1)
	if len(scrape) < 30 {
		t.Fatalf("%d samples, want those of all metrics", len(scrape))
	}
	for _, m := range scrape {
		tests = append(tests, fmt.Sprintf(`  - {series: '%s{job="duo_in", instance="a", %s}', values: '1+1x60'}`, m[1], m[2]))
	}
	rules, asked := []string{"groups:", "- name: queries", "  rules:"}, []string{"  promql_expr_test:"}
	for i, q := range queries() {
		rules = append(rules, fmt.Sprintf("  - {record: 'q:%d', expr: %q}", i, q))
		asked = append(asked, fmt.Sprintf("  - {expr: '0 * count(q:%d) # of %s', eval_time: 1h, exp_samples: [{value: 0}]}", i, strings.ReplaceAll(q, "'", "''")))
	}
	write("rules.yml", rules)
	write("tests.yml", slices.Concat(tests, asked))
	promtool(t, dir, "check", "rules", "rules.yml")
	promtool(t, dir, "test", "rules", "tests.yml")
}

// metric is a name that can be of duo_in's or Fluent Bit's.
var metric = regexp.MustCompile(`\b(?:duo_in|fluentbit)_\w+`)

// askedFor are the metrics of duo_in's and Fluent Bit's that a dashboard or an
// alert asks for.
func askedFor(t *testing.T) []string {
	asked := strings.Join(queries(), "\n")
	for _, a := range alerts(t) {
		asked += "\n" + a.Expr
	}
	names := metric.FindAllString(asked, -1)
	slices.Sort(names)
	return slices.Compact(names)
}

// TestMetrics holds the metrics that the dashboards and the alerts ask for to
// those that there are: duo_in's are in docs/monitoring.md, which is made from
// the code, and what Fluent Bit serves is in testdata.
func TestMetrics(t *testing.T) {
	documented, scraped := read(t, "docs/monitoring.md"), read(t, "internal/monitor/testdata/scrape.txt")
	names := askedFor(t)
	for _, name := range names {
		if strings.HasPrefix(name, "duo_in") && !strings.Contains(documented, "| `"+name+"` |") {
			t.Errorf("%s: there is no such metric in docs/monitoring.md", name)
		}
		if !strings.Contains(scraped, "\n"+name+"{") && !strings.HasPrefix(scraped, name+"{") {
			t.Errorf("%s: Fluent Bit served no such metric", name)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(duo_in_\\w+)` \\|").FindAllStringSubmatch(documented, -1) {
		if !slices.Contains(names, m[1]) {
			t.Errorf("%s: neither a dashboard nor an alert asks for it", m[1])
		}
	}
}
