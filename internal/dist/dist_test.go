package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var twice = flag.Bool("twice", false, "also make the release from two clones, and compare all bytes: ten minutes")

// An archive is of what its files are called and hold, not of where they lie, who made them and when.
func TestArchivesAreTheSame(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, write := range map[string]func(io.Writer, string, time.Time) error{"tar.gz": writeTar, "zip": writeZip} {
		var made [2]bytes.Buffer
		for i, mode := range []os.FileMode{0o600, 0o755} {
			tree := filepath.Join(t.TempDir(), "duo_in-1.2.3")
			files := []string{"duoctl", "docs/a.md", "duo_in.so"}
			for j := range files {
				file := filepath.Join(tree, files[(i+j)%len(files)])
				if err := put(file, []byte(filepath.Base(file))); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.Chmod(file, mode), os.Chtimes(file, at, at.AddDate(i, 0, 0))); err != nil {
					t.Fatal(err)
				}
			}
			if err := write(&made[i], tree, at); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(made[0].Bytes(), made[1].Bytes()) {
			t.Errorf("%s: the same files gave other bytes", name)
		}
	}
}

// A release takes the place of an earlier one, and of nothing else.
func TestEmptied(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "dist")
	for _, step := range []struct {
		file string
		ok   bool
	}{{"", true}, {"SHA256SUMS", true}, {"duo-in_1.2.3_amd64.deb", true}, {"work.txt", false}} {
		if step.file != "" {
			if err := put(filepath.Join(folder, step.file), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := emptied(folder); (err == nil) != step.ok {
			t.Errorf("with %q: %v", step.file, err)
		}
		if entries, err := os.ReadDir(folder); err != nil || (len(entries) == 0) != step.ok {
			t.Errorf("with %q: %v is there, %v", step.file, entries, err)
		}
	}
}

func TestVersion(t *testing.T) {
	r := &release{root: "../.."}
	for _, tt := range []struct{ given, want string }{
		{"v1.2.3", "1.2.3"}, {"1.2.3-rc.1", "1.2.3-rc.1"}, {"1.2", ""}, {"v1.2.3; rm", ""}, {"../1.2.3", ""},
	} {
		if got, err := r.versionOf(tt.given); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %q, %v; want %q", tt.given, got, err, tt.want)
		}
	}
	if got, err := r.versionOf(""); err != nil || !versionShape.MatchString(got) {
		t.Errorf("the code's: %q, %v", got, err)
	}
}

// A compiler that is missing is named with the package that brings it.
func TestMissingCompilers(t *testing.T) {
	err := haveCompilers(func(name string) (string, error) {
		if strings.HasPrefix(name, "x86_64-linux") {
			return name, nil
		}
		return "", exec.ErrNotFound
	})
	want := []string{
		"linux/arm64 needs the C compiler aarch64-linux-gnu-gcc: apt-get install gcc-aarch64-linux-gnu",
		"windows/amd64 needs the C compiler x86_64-w64-mingw32-gcc: apt-get install gcc-mingw-w64-x86-64",
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Two clones at two places give the same bytes, of which SHA256SUMS is true.
func TestTwice(t *testing.T) {
	if !*twice {
		t.Skip("NOT RUN: the release made twice; -twice runs it")
	}
	var sums [2]string
	for i, name := range []string{"a", "another/place"} {
		clone := filepath.Join(t.TempDir(), name)
		if out, err := exec.Command("git", "clone", "-q", "../..", clone).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		cmd := exec.Command("make", "dist")
		cmd.Dir = clone
		cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		check := exec.Command("sha256sum", "-c", "SHA256SUMS")
		check.Dir = filepath.Join(clone, "dist")
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(clone, "dist", "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = string(text)
	}
	if diff := cmp.Diff(sums[0], sums[1]); diff != "" {
		t.Errorf("the second differs (-first +second):\n%s", diff)
	}
}
