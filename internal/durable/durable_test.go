package durable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Until the end the old file stands under its name, and what is to replace it beside it, by its own; then only the new one
// is there.
func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kept.json")
	holds := func(want string, files int) {
		t.Helper()
		data, err := os.ReadFile(path)
		if string(data) != want {
			t.Errorf("the file holds %q (%v), want %q", data, err, want)
		}
		entries, _ := os.ReadDir(filepath.Dir(path))
		if len(entries) != files {
			t.Errorf("%d files, want %d: %v", len(entries), files, entries)
		}
		for _, e := range entries {
			if e.Name() != "kept.json" && !strings.HasPrefix(e.Name(), ".kept.json") {
				t.Errorf("%s is not to be seen as what it is", e.Name())
			}
		}
	}
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds("old", 1)
	for _, finish := range []bool{false, true} {
		f, err := Create(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		holds("old", 2)
		if finish {
			if err := f.CloseAtomicallyReplace(); err != nil {
				t.Fatal(err)
			}
			holds("new", 1)
		}
		if err := f.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	holds("new", 1)
}
