package monitor

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// promtool runs Prometheus' own tool in a folder of the module's or in another,
// and returns what it says. Without one the test is skipped.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED, alerts and dashboards are NOT tried: put promtool on PATH (Debian: apt-get install prometheus)")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

// TestPromtool has Prometheus' own tool check what is deployed, and run the
// scenarios of alerts_test.yml.
func TestPromtool(t *testing.T) {
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"}, // and the rules that it names
		{"test", "rules", "alerts_test.yml"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			promtool(t, filepath.Join(root, "deploy", "prometheus"), args...)
		})
	}
}
