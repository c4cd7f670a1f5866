package ci

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"duo_in/internal/flbtest"
)

// docker stands in for Docker: a container whose files are those below $IMAGE.
const docker = `#!/bin/sh
set -e
case "$1" in
create) echo "created $2" >>"$CALLS"; echo c1 ;;
export) [ "$2" = c1 ]; tar -c -C "$IMAGE" . ;;
rm) echo "removed $3" >>"$CALLS" ;;
*) exit 1 ;;
esac
`

// TestFluentBitImage unpacks an image as Fluent Bit's are, with libraries of its
// own, and starts the program that is in it.
func TestFluentBitImage(t *testing.T) {
	fluentBit, ok := flbtest.FluentBitPath()
	if !ok {
		t.Skip("SKIPPED, .ci/fluent-bit-image is NOT tested: put fluent-bit on PATH or its path into $FLUENT_BIT")
	}
	libraries, err := exec.Command("ldd", fluentBit).Output()
	if err != nil {
		t.Skipf("SKIPPED, .ci/fluent-bit-image is NOT tested: ldd %s: %v", fluentBit, err)
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	put := func(from, to string) {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(fluentBit, filepath.Join(image, "fluent-bit", "bin", "fluent-bit"))
	for field := range strings.FieldsSeq(string(libraries)) {
		if strings.HasPrefix(field, "/") {
			put(field, filepath.Join(image, "usr", "lib", filepath.Base(field)))
		}
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(docker), 0o755); err != nil {
		t.Fatal(err)
	}
	calls, out := filepath.Join(dir, "calls"), filepath.Join(dir, "out")
	cmd := exec.Command(filepath.Join(root, ".ci", "fluent-bit-image"), "fluent/fluent-bit:9.9", out)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "IMAGE="+image, "CALLS="+calls)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if got, _ := os.ReadFile(calls); string(got) != "created fluent/fluent-bit:9.9\nremoved c1\n" {
		t.Errorf("Docker was asked for %q", got)
	}
	// Nothing of this system's is used: without a library in it, the image is broken.
	program := filepath.Join(out, "fluent-bit")
	if said, err := exec.Command(program, "--version").CombinedOutput(); err != nil || !strings.HasPrefix(string(said), "Fluent Bit v") {
		t.Errorf("%v\n%s", err, said)
	}
	script, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Split(string(script), "'") {
		if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, out) {
			t.Errorf("%s is started with %s, which is not the image's", program, path)
		}
	}
}
