//go:build cgo

package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"duo_in/internal/flbtest"
)

// commands are those of the README's first code block behind a heading.
func commands(t *testing.T, heading string) []string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, "README.md"), "\n### "+heading+"\n")
	if !found {
		t.Fatalf("the README has no heading %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n### ")
	var lines []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(rest, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	return lines
}

// TestWithoutAnAccount runs the README's commands as they stand there, but for the
// port: the simulated Duo, the check, and Fluent Bit, which must print events.
func TestWithoutAnAccount(t *testing.T) {
	lines := commands(t, "Without an account")
	if len(lines) != 2 {
		t.Fatalf("the README has the commands %q", lines)
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	duoctl := filepath.Join(dir, "build", "duoctl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", duoctl, root+"/cmd/duoctl").CombinedOutput(); err != nil {
		t.Fatalf("build duoctl: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "fluent-bit.sim.conf"), []byte(read(t, "fluent-bit.sim.conf")), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, line string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
		cmd.Dir = dir
		return cmd
	}

	sim := run(t.Context(), lines[0]+" -listen 127.0.0.1:0")
	printed, err := sim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() })
	// It prints when it listens, and has written its files by then.
	if _, err := printed.Read(make([]byte, 1)); err != nil {
		t.Fatal("the simulated Duo did not start:", err)
	}

	if out, err := run(t.Context(), "build/duoctl check -c fluent-bit.sim.conf").CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
	fluentBit, ok := flbtest.FluentBitPath()
	if !ok {
		t.Skip("SKIPPED, the first steps are NOT tested in real Fluent Bit: put fluent-bit on PATH or its path into $FLUENT_BIT")
	}
	plugin, err := flbtest.BuildPlugin(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(plugin, filepath.Join(dir, "build", "duo_in.so")); err != nil {
		t.Fatal(err)
	}
	line, isFluentBit := strings.CutPrefix(lines[1], "fluent-bit ")
	if !isFluentBit {
		t.Fatalf("not Fluent Bit: %q", lines[1])
	}
	out := runUntil(t, `"eventtype":"activity"`, run(t.Context(), fluentBit+" "+line))
	if strings.Contains(out, "[error]") {
		t.Errorf("an error in the log:\n%s", out)
	}
}
