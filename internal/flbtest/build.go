package flbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// FluentBitPath is where a real fluent-bit is: $FLUENT_BIT, or the one on PATH.
func FluentBitPath() (string, bool) {
	name := os.Getenv("FLUENT_BIT")
	if name == "" {
		name = "fluent-bit"
	}
	path, err := exec.LookPath(name)
	return path, err == nil
}

// BuildPlugin builds the plugin into dir/duo_in.so.
func BuildPlugin(ctx context.Context, dir string) (so string, err error) {
	return buildPlugin(ctx, filepath.Join(dir, "duo_in.so"), []string{"-buildmode=c-shared"})
}

func buildPlugin(ctx context.Context, target string, flags []string, env ...string) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	if target, err = filepath.Abs(target); err != nil {
		return "", fmt.Errorf("build plugin: %w", err)
	}
	args := append([]string{"build", "-o", target}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./plugin")...)
	cmd.Dir = root
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=1"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build plugin: %w\n%s", err, out)
	}
	return target, nil
}

// LinkedIn is the Plugin of a [Spec] for the host of [BuildRaceHost].
const LinkedIn = "self"

// BuildRaceHost builds the C host with the plugin linked into it, under Go's
// race detector, which cannot work in a library that a C program loads: its
// shadow memory does not reach there. A race is logged as "DATA RACE"; with
// GORACE=halt_on_error=1 it ends the host with status 66.
func BuildRaceHost(ctx context.Context, dir string) (path string, err error) {
	archive, err := buildPlugin(ctx, filepath.Join(dir, "duo_in.a"), []string{"-buildmode=c-archive", "-race"})
	if err != nil {
		return "", err
	}
	return buildCHost(ctx, filepath.Join(dir, "flbhost-race"),
		"-no-pie", "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive")
}

// BuildCHost compiles the C host into dir/flbhost, with what flags there are
// besides; host.c says what those of its own do. Where there is no C compiler the
// error is exec.ErrNotFound.
func BuildCHost(ctx context.Context, dir string, flags ...string) (path string, err error) {
	return buildCHost(ctx, filepath.Join(dir, "flbhost"), flags...)
}

// BuildFake compiles a plugin in C into dir/fake.so: numbered records, by which
// a host alone is tested and measured. It needs $FAKE_JOURNAL, see fake.c.
func BuildFake(ctx context.Context, dir string) (so string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "internal", "flbtest", "testdata", "fake.c")
	return compileC(ctx, source, filepath.Join(dir, "fake.so"), "-shared", "-fPIC")
}

const hostSource = "plugin/testdata/flbhost/host.c"

func buildCHost(ctx context.Context, target string, flags ...string) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	// -rdynamic: plugins find functions among the host's symbols.
	return compileC(ctx, filepath.Join(root, hostSource), target, append(flags, "-rdynamic", "-pthread", "-ldl")...)
}

// compileC runs $CC, or gcc.
func compileC(ctx context.Context, source, target string, flags ...string) (string, error) {
	cc := strings.Fields(os.Getenv("CC"))
	if len(cc) == 0 {
		cc = []string{"gcc"}
	}
	return compileWith(ctx, cc, source, target, flags...)
}

func compileWith(ctx context.Context, cc []string, source, target string, flags ...string) (string, error) {
	args := append(slices.Clone(cc[1:]), "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-o", target, source)
	out, err := exec.CommandContext(ctx, cc[0], append(args, flags...)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("compile %s: install gcc or set $CC: %w", filepath.Base(source), err)
	}
	if err != nil {
		return "", fmt.Errorf("compile %s: %w\n%s", filepath.Base(source), err, out)
	}
	return filepath.Abs(target)
}

// moduleRoot is the folder of the go.mod that the working directory belongs to.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("go env GOMOD: no go.mod here; run inside the module")
	}
	return filepath.Dir(mod), nil
}
