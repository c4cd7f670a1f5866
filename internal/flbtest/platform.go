package flbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Platform is one that the plugin and the C host are built for. The zero value is that of this machine.
type Platform struct {
	GOOS, GOARCH string
	cc           []string // C compiler, with what it needs besides
	shared       string   // the plugin's file name
	run          []string // what runs a program of that platform here
	packages     string   // of Debian, which bring both
}

// Elsewhere are the platforms that releases are made for and that most tests
// do not run on.
var Elsewhere = []Platform{
	{
		GOOS: "windows", GOARCH: "amd64", cc: []string{"x86_64-w64-mingw32-gcc", "-Wno-format", "-static"}, shared: "duo_in.dll",
		run: []string{"wine"}, packages: "gcc-mingw-w64-x86-64 wine",
	},
	{
		GOOS: "linux", GOARCH: "arm64", cc: []string{"aarch64-linux-gnu-gcc"}, shared: "duo_in.so",
		run: []string{"qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"}, packages: "gcc-aarch64-linux-gnu qemu-user",
	},
}

func (p Platform) String() string { return p.GOOS + "/" + p.GOARCH }

// Windows reports whether it is one, which has no signals and no modes.
func (p Platform) Windows() bool { return p.GOOS == "windows" }

// Missing says what is not there to build for the platform and to run it, ""
// if nothing.
func (p Platform) Missing() string {
	for _, name := range []string{p.cc[0], p.run[0]} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Sprintf("NO %s: apt-get install %s", name, p.packages)
		}
	}
	return ""
}

// Build builds the plugin and the C host into dir.
func (p Platform) Build(ctx context.Context, dir string) (plugin, host string, err error) {
	flags := []string{"-buildmode=c-shared", "-trimpath"} // as releases are
	plugin, err = buildPlugin(ctx, filepath.Join(dir, p.shared), flags, "GOOS="+p.GOOS, "GOARCH="+p.GOARCH, "CC="+p.cc[0])
	if err != nil {
		return "", "", err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", "", err
	}
	libraries := []string{"-rdynamic", "-pthread", "-ldl"}
	if p.Windows() {
		libraries = []string{"-pthread"}
	}
	host, err = compileWith(ctx, p.cc, filepath.Join(root, hostSource), filepath.Join(dir, "flbhost.exe"), libraries...)
	return plugin, host, err
}

// Wine makes a folder of Wine's in dir in which Go programs run. env is for
// what runs there; stop ends what Wine left running, and must be called.
func Wine(ctx context.Context, dir string) (env []string, stop func() error, err error) {
	env = []string{"WINEPREFIX=" + dir, "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml="}
	wine := func(ctx context.Context, name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), env...)
		if err := cmd.Run(); err != nil { // its output is not read: what it leaves running keeps that open
			return fmt.Errorf("%s %q: %w", name, args, err)
		}
		return nil
	}
	stop = func() error { return wine(context.WithoutCancel(ctx), "wineserver", "-k") }
	// The server stays until it is ended: each of its lives looks like another run of the machine.
	if err := wine(ctx, "wineserver", "-p"); err != nil {
		return nil, nil, err
	}
	if err := wine(ctx, "wine", "wineboot", "--init"); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	library := filepath.Join(dir, "drive_c", "windows", "system32", "bcryptprimitives.dll")
	if _, err := os.Stat(library); err != nil {
		source := filepath.Join(root, "internal", "flbtest", "testdata", "bcryptprimitives.c")
		if _, err := compileWith(ctx, Elsewhere[0].cc, source, library, "-shared", "-ladvapi32"); err != nil {
			return nil, nil, errors.Join(err, stop())
		}
	}
	return env, stop, nil
}
