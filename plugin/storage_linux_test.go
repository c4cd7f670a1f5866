package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOpenChunks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"duo.76/1.flb", "duo.77/1.txt", "duo.78/1.flb"} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if err := os.Remove(filepath.Join(dir, "duo.78/1.flb")); err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string]string{
		"duo.76": filepath.Join(dir, "duo.76"),
		"duo.77": "", // not a chunk
		"duo.78": "", // removed
		"duo.7":  "",
	} {
		if got := openChunks()[input]; got != want {
			t.Errorf("chunks of %s are in %q, want %q", input, got, want)
		}
	}
}

func TestStatVolume(t *testing.T) {
	v, err := statVolume(t.TempDir())
	if err != nil || v.bytes < 1<<20 || v.free > v.bytes || v.freeFiles > v.files {
		t.Errorf("got %+v, %v", v, err)
	}
	if v, err := statVolume("/no/such/folder"); err == nil {
		t.Errorf("got %+v of a folder that is not there", v)
	}
}
