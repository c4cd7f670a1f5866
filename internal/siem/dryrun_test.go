//go:build cgo

package siem

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"duo_in/internal/flbtest"
)

// variable is a place that the environment fills.
var variable = regexp.MustCompile(`\$\{(\w+)\}`)

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
			for _, s := range flbtest.ParseConfig(e.file, read(t, e.file)) {
				if s.Name == "OUTPUT" {
					needsOutput(t, bin, s.Get("name"))
				}
			}
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
			for _, name := range variable.FindAllStringSubmatch(read(t, e.file), -1) {
				if !strings.HasPrefix(name[1], "DUO_") {
					b.spec.Env = append(b.spec.Env, name[1]+"=x")
				}
			}
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
