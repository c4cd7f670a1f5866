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

// TestDryRun has Fluent Bit read each example as it stands there.
func TestDryRun(t *testing.T) {
	bin, plugin := fluentBit(t)
	for _, e := range table() {
		if !isFluentBit(e.file) {
			continue
		}
		t.Run(e.file, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			path, err := filepath.Abs(filepath.Join(examples, e.file))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(ctx, bin, "-e", plugin, "-c", path, "--dry-run")
			cmd.Env = append(os.Environ(), "DUO_API_HOST=api-xxxxxxxx.duosecurity.com", "DUO_INTEGRATION_KEY=x", "DUO_SECRET_KEY=x")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
