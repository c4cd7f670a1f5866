// Command dist makes a release: archives for Linux and Windows, .deb and .rpm packages, a bill of materials and the
// checksums of all of them. It promises the same bytes for the same commit with the same Go and C compilers, wherever
// the clone lies and whenever it runs: no time but the commit's, no path, no user and no order of a folder gets into
// them.
//
// Signing them and publishing them is left to others.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// release is what is being made.
type release struct {
	root    string    // of the module
	out     string    // the folder of what is made
	work    string    // a folder that goes away
	version string    // without a v
	at      time.Time // of the commit
}

func main() {
	out := flag.String("out", "dist", "`folder` to make the release in; what is there of an earlier one is removed")
	version := flag.String("version", "", "version, such as the tag v1.2.3; that of plugin/version.go if empty")
	flag.Parse()
	if err := run(*out, *version); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func run(out, version string) (err error) {
	if err := haveCompilers(exec.LookPath); err != nil {
		return err
	}
	r, err := newRelease(out, version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.work)) }()
	if err := emptied(r.out); err != nil {
		return err
	}
	if changed, err := output(r.root, "git", "status", "--porcelain", "--untracked-files=no"); err != nil || changed != "" {
		fmt.Fprintln(os.Stderr, "dist: this is not what the commit has: files are changed, or git cannot tell")
	}
	for _, step := range []func() error{r.build, r.documents, r.archives, r.packages, r.billOfMaterials, r.checksums} {
		if err := step(); err != nil {
			return err
		}
	}
	fmt.Printf("made %s: duo_in %s of %s\n", r.out, r.version, r.at.Format(time.RFC3339))
	return nil
}

// made is what the names of a release's files begin with.
var made = regexp.MustCompile(`^(duo[_-]in|SHA256SUMS)`)

// emptied makes the folder, or removes the release that is in it. One that has
// anything else in it is left as it is.
func emptied(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !made.MatchString(e.Name()) {
			return fmt.Errorf("-out %s: %s is of no release: give a folder that is empty, or has a release in it only", folder, e.Name())
		}
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(folder, e.Name())); err != nil {
			return err
		}
	}
	return os.MkdirAll(folder, 0o755)
}

func newRelease(out, version string) (*release, error) {
	mod, err := output("", "go", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	r := &release{root: filepath.Dir(mod)}
	if r.out, err = filepath.Abs(out); err != nil {
		return nil, err
	}
	if r.version, err = r.versionOf(version); err != nil {
		return nil, err
	}
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		if epoch, err = output(r.root, "git", "log", "-1", "--format=%ct"); err != nil {
			return nil, fmt.Errorf("%w: set SOURCE_DATE_EPOCH to the time of the sources", err)
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.at = time.Unix(seconds, 0).UTC()
	r.work, err = os.MkdirTemp("", "duo_in-dist-")
	return r, err
}

var (
	versionInCode = regexp.MustCompile(`(?m)^var version = "([^"]+)"$`)
	versionShape  = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+([-+~.][0-9A-Za-z.]+)?$`)
)

// versionOf is the version as it was given, or that of the code.
func (r *release) versionOf(given string) (string, error) {
	version := strings.TrimPrefix(given, "v")
	if version == "" {
		code, err := os.ReadFile(filepath.Join(r.root, "plugin", "version.go"))
		if err != nil {
			return "", err
		}
		found := versionInCode.FindSubmatch(code)
		if found == nil {
			return "", errors.New("plugin/version.go has no version")
		}
		version = string(found[1])
	}
	if !versionShape.MatchString(version) {
		return "", fmt.Errorf("version %q: give one such as 1.2.3 or v1.2.3", version)
	}
	return version, nil
}

// checksums writes SHA256SUMS, as sha256sum -c reads it.
func (r *release) checksums() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), e.Name())
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), sums.Bytes(), 0o644)
}

// output runs a command and returns what it printed, without the white space around it.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), wrap(cmd, err)
}

// do runs a command; what it prints is shown if it fails.
func do(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return wrap(cmd, err)
}

func wrap(cmd *exec.Cmd, err error) error {
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
}
