package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What fails is named with the input that did it; what does not ends when its time is over, and passes.
func TestRun(t *testing.T) {
	t.Setenv("GOFLAGS", "")
	dir := t.TempDir() // a failing input is written beside the test
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "module"))); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, test := range []struct {
		only string
		each time.Duration
		want []string // parts of the error
	}{
		{only: "FuzzSound", each: time.Second},
		{only: "FuzzBroken", each: time.Minute, want: []string{"FuzzBroken in .", "two bytes", filepath.Join("testdata", "fuzz", "FuzzBroken")}},
		{only: "FuzzNone", want: []string{`no fuzz test matches "FuzzNone"`}},
	} {
		t.Run(test.only, func(t *testing.T) {
			err := run(context.Background(), test.each, 2, test.only, true)
			if (err != nil) != (len(test.want) > 0) {
				t.Fatalf("run: %v; want an error: %t", err, len(test.want) > 0)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error has no %q: %v", part, err)
				}
			}
		})
	}
}
