package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// benchstat is the tool that makes a table of several runs of Go benchmarks.
const benchstat = "golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da"

// hotPath is where the Go benchmarks of a record's way are.
var hotPath = []string{"./duo", "./plugin/record", "./internal/bench"}

// goBenchmarks runs the Go benchmarks that match pattern, each six times, writes
// what they say to micro.txt in dir, for benchstat to compare with that of another
// day, and returns benchstat's table.
func goBenchmarks(ctx context.Context, dir, pattern string, packages ...string) (string, error) {
	args := []string{"test", "-run", "^$", "-bench", pattern, "-benchmem", "-count", "6", "-benchtime", "100ms"}
	runs, err := goOutput(ctx, append(args, packages...)...)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, "micro.txt")
	if err := os.WriteFile(file, runs, 0o644); err != nil {
		return "", err
	}
	table, err := goOutput(ctx, "run", benchstat, file)
	if err != nil { // without a network, for one
		return string(runs) + "\n(without benchstat: " + err.Error() + ")\n", nil
	}
	return string(table), nil
}

// goOutput runs the go command in the module's root, where make is run too.
func goOutput(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	ownGroup(cmd)
	out, err := cmd.Output()
	if err != nil {
		return out, errors.Join(fmt.Errorf("go %q: %w", args, err), errors.New(tail(string(out)+said.String(), 2000)))
	}
	return out, nil
}
