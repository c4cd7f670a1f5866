//go:build cgo

package siem

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestDryRun has Fluent Bit read each example as it stands there. That finds a
// plugin that does not exist, and no more: so what no test runs end to end is
// started, too, which finds a key that its output does not know.
func TestDryRun(t *testing.T) {
	bin, plugin := fluentBit(t)
	t.Parallel()
	for _, e := range table() {
		if !isFluentBit(e.file) {
			continue
		}
		t.Run(e.file, func(t *testing.T) {
			path, err := filepath.Abs(filepath.Join(examples, e.file))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), bin, "-e", plugin, "-c", path, "--dry-run")
			cmd.Env = append(os.Environ(), "DUO_API_HOST=api-xxxxxxxx.duosecurity.com", "DUO_INTEGRATION_KEY=x", "DUO_SECRET_KEY=x")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if e.test != "" {
				return
			}
			b := newBed(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			b.start(e.file, b.configure(e.file))
			if err := b.host.WaitReady(ctx); err != nil {
				t.Error(err)
			}
			b.stop()
		})
	}
}
