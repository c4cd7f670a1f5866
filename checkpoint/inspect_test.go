package checkpoint

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Looking at a folder says what Open would, and leaves nothing behind.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"good": 0o700, "loose": 0o777, "sealed": 0o500} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir    string
		missing      bool
		unsafe, says string
	}{
		{"there", "good", false, "", ""},
		{"to be made", "good/a/b", true, "", ""},
		{"anybody's", "loose", false, "every user", ""},
		{"a file", "file", false, "", "not a directory: set checkpoint_dir"},
		{"below a file", "file/a", false, "", "not a directory"},
		{"a link to nothing", "link", false, "", "no such file"},
		{"below a link to nothing", "link/a", false, "", "no such file"},
		{"sealed", "sealed", false, "", "permission denied"},
		{"below a sealed one", "sealed/a", true, "", "permission denied"},
	} {
		if strings.Contains(tt.dir, "sealed") && os.Geteuid() == 0 {
			continue // nothing is sealed for root
		}
		missing, unsafe, err := Inspect(filepath.Join(dir, tt.dir))
		said := ""
		if err != nil {
			said = err.Error()
		}
		if tt.says == "" && missing != tt.missing || (said == "") != (tt.says == "") || !strings.Contains(said, tt.says) ||
			(len(unsafe) > 0) != (tt.unsafe != "") || !strings.Contains(strings.Join(unsafe, ""), tt.unsafe) {
			t.Errorf("%s: missing %v, unsafe %q, %v", tt.name, missing, unsafe, err)
		}
	}
	for _, path := range []string{"good/a", "good/.writable"} {
		if _, err := os.Stat(filepath.Join(dir, path)); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}

// Who has a stream is told without taking it away, and without making a file.
func TestHolder(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	own, parent := Stream{Host: "API.example.com:443", Log: "activity"}, Stream{Host: "api.example.com", Log: "telephony"}
	if e := Holder(dir, own); e != nil {
		t.Errorf("nobody's stream is held: %v", e)
	}
	if e := FamilyHolder(dir, parent, true); e != nil {
		t.Errorf("nobody's family is held: %v", e)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("looking made %v, %v", entries, err)
	}
	store, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	slot, err := store.Acquire(ctx, own, "[INPUT] duo.7")
	if err != nil {
		t.Fatal(err)
	}
	some, err := store.AcquireFamily(ctx, parent, false, "[INPUT] duo.8")
	if err != nil {
		t.Fatal(err)
	}
	if e := Holder(dir, own); e == nil || e.PID != os.Getpid() || e.Owner != "[INPUT] duo.7" {
		t.Errorf("held by %+v, want this process's duo.7", e)
	}
	if e := FamilyHolder(dir, parent, false); e != nil {
		t.Errorf("some want what others have some of: %v", e)
	}
	if e := FamilyHolder(dir, parent, true); e == nil || e.Owner != "[INPUT] duo.8" {
		t.Errorf("held by %+v, want duo.8", e)
	}
	if err := some.Release(); err != nil {
		t.Error(err)
	}
	if err := slot.Release(); err != nil {
		t.Error(err)
	}
	if e := Holder(dir, own); e != nil {
		t.Errorf("what was given back is held: %v", e)
	}
	if slot, err = store.Acquire(ctx, own, "next"); err != nil {
		t.Fatalf("after the looks: %v", err)
	}
	if err := slot.Release(); err != nil {
		t.Error(err)
	}
}
