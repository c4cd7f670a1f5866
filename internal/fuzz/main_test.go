package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The fuzz tests that TestRun runs: one that nothing can break, one that falls to almost any input.
const source = `package p

import "testing"

func FuzzSound(f *testing.F) {
	f.Add([]byte("a"))
	f.Fuzz(func(t *testing.T, b []byte) {})
}

func FuzzBroken(f *testing.F) {
	f.Add([]byte("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1 {
			t.Error("two bytes")
		}
	})
}
`

// What fails is named with the input that did it; what does not ends when its time is over, and passes.
func TestRun(t *testing.T) {
	t.Setenv("GOFLAGS", "")
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"go.mod": "module p\n\ngo 1.24\n", "p_test.go": source} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		only string
		want []string // parts of the error
	}{
		{only: "FuzzSound"},
		{only: "FuzzBroken", want: []string{"FuzzBroken in .", "two bytes", filepath.Join("testdata", "fuzz", "FuzzBroken")}},
		{only: "FuzzNone", want: []string{`no fuzz test matches "FuzzNone"`}},
	} {
		t.Run(test.only, func(t *testing.T) {
			err := run(context.Background(), time.Second, 2, test.only, true)
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
