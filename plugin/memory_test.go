package main

import (
	"runtime/debug"
	"testing"
)

// TestSaveMemory: the operator's GOGC counts, else ours.
func TestSaveMemory(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for _, tt := range []struct {
		env  string
		want int
	}{{"50", 77}, {"off", 77}, {"", gcPercent}} { // the runtime itself has read the first two
		t.Setenv("GOGC", tt.env)
		saveMemory()
		if got := debug.SetGCPercent(77); got != tt.want {
			t.Errorf("GOGC=%q: %d %%, want %d", tt.env, got, tt.want)
		}
	}
}
