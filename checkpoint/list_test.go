package checkpoint

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestList lists what a store wrote beside what others may leave there: Fluent Bit's chunks, locks, stray files.
func TestList(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	child := Stream{Host: auth.Host, Account: "DAXXXXXXXXXXXXXXXXXX", Log: "activity"}
	for _, st := range []Stream{tele, auth, child} {
		sl, err := s.Acquire(context.Background(), st, "test")
		if err != nil {
			t.Fatal(err)
		}
		mustLoad(t, sl)
		mustSave(t, sl, 1, 2)
		if err := sl.Release(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{
		"storage/duo.0/1-1.flb", "stray.json", auth.Host + "/stray.json", auth.Host + "/self/.hidden.json", auth.Host + "/self/notes.txt",
		auth.Host + "/self/authentication.json.broken", ".trash/self/activity.json",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), nil)
	}
	// Of telephony only the generation before is left.
	if err := os.Remove(filepath.Join(dir, auth.Host, "self", "telephony.json")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)

	type row struct {
		Stream            string
		Current, Previous int
	}
	entries, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []row
	for _, e := range entries {
		r := row{Stream: e.Stream.String()}
		for g, into := range map[Generation]*int{Current: &r.Current, Previous: &r.Previous} {
			if _, err := e.Read(g, into); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, generation %d: %v", e.Path, g, err)
			}
		}
		got = append(got, r)
	}
	want := []row{
		{auth.Host + "/DAXXXXXXXXXXXXXXXXXX/activity", 2, 1},
		{auth.Host + "/self/authentication", 2, 1},
		{auth.Host + "/self/telephony", 0, 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("listing changed the folder (-before +after):\n%s", diff)
	}
}

// TestListFails holds that what cannot be listed is named, and nothing is made.
func TestListFails(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := List(missing); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing folder: %v, want an error that says so and names it", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("List made the folder")
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, nil)
	if _, err := List(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file: %v, want an error that names it", err)
	}
}

// TestListUnreadableFolder: a folder that may not be read is in the error, and does not hide the others.
func TestListUnreadableFolder(t *testing.T) {
	dir := t.TempDir()
	if !asUser(t, dir) {
		t.Skip("NOT TESTED, since root may read any folder: run go test ./checkpoint as another user")
	}
	sl := acquire(t, dir)
	mustLoad(t, sl)
	mustSave(t, sl, 1)
	closed := filepath.Join(dir, "closed.example.com")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	entries, err := List(dir)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), closed) || len(entries) != 1 {
		t.Errorf("closed folder: %d entries, %v; want the other one and an error that names the folder", len(entries), err)
	}
}

// tree returns the paths below dir.
func tree(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}
