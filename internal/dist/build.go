package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// target is a platform that a release is made for.
type target struct {
	goos, goarch   string
	cc             string // C compiler
	needs          string // Debian's package of it
	shared, duoctl string // file names
}

var targets = []target{
	{"linux", "amd64", "x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu", "duo_in.so", "duoctl"},
	{"linux", "arm64", "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "duo_in.so", "duoctl"},
	{"windows", "amd64", "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64", "duo_in.dll", "duoctl.exe"},
}

// haveCompilers returns what is missing, with the remedy.
func haveCompilers(look func(string) (string, error)) (err error) {
	for _, t := range targets {
		if _, e := look(t.cc); e != nil {
			err = errors.Join(err, fmt.Errorf("%s/%s needs the C compiler %s: apt-get install %s", t.goos, t.goarch, t.cc, t.needs))
		}
	}
	return err
}

// tree is the folder of a target's archive.
func (r *release) tree(t target) string {
	return filepath.Join(r.work, fmt.Sprintf("duo_in-%s-%s-%s", r.version, t.goos, t.goarch))
}

// build builds the plugin and duoctl for all targets.
func (r *release) build() error {
	for _, t := range targets {
		fmt.Printf("building for %s/%s\n", t.goos, t.goarch)
		for _, b := range []struct{ file, pkg, mode, cgo string }{
			{t.shared, "./plugin", "c-shared", "1"},
			{t.duoctl, "./cmd/duoctl", "exe", "0"},
		} {
			// No build id of Go's or of the linker's: they would be of paths too. -trimpath covers C's as well.
			cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags=codec.notfastpath", "-mod=readonly", "-buildmode="+b.mode,
				"-ldflags=-s -w -buildid= -X main.version="+r.version+" -extldflags="+t.linkFlags(), "-o", filepath.Join(r.tree(t), b.file), b.pkg)
			cmd.Dir = r.root
			cmd.Env = append(os.Environ(), "GOOS="+t.goos, "GOARCH="+t.goarch, "GOAMD64=v1", "GOARM64=v8.0", "CGO_ENABLED="+b.cgo, "CC="+t.cc,
				"GOFLAGS=", "CGO_CFLAGS=-O2 -g", "CGO_LDFLAGS=-O2 -g", "GOEXPERIMENT=")
			if err := do(cmd); err != nil {
				return err
			}
		}
		// C's header for callers of the library, of which there are none.
		if err := os.Remove(filepath.Join(r.tree(t), "duo_in.h")); err != nil {
			return err
		}
	}
	return nil
}

func (t target) linkFlags() string {
	if t.goos == "windows" {
		return "-Wl,--no-insert-timestamp"
	}
	return "-Wl,--build-id=none"
}

// glibc is the oldest version of glibc that a library works with, such as 2.34.
func glibc(library string) (string, error) {
	f, err := elf.Open(library)
	if err != nil {
		return "", err
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols()
	if err != nil {
		return "", err
	}
	newest := ""
	for _, s := range symbols {
		if v, ok := strings.CutPrefix(s.Version, "GLIBC_"); ok && slices.Compare(numbers(v), numbers(newest)) > 0 {
			newest = v
		}
	}
	if newest == "" {
		return "", fmt.Errorf("%s does not say which glibc it needs", library)
	}
	return newest, nil
}

func numbers(version string) (out []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part)
		out = append(out, n)
	}
	return out
}
