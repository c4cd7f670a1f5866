package p

import "testing"

// FuzzSound is what nothing can break.
func FuzzSound(f *testing.F) {
	f.Add([]byte("a"))
	f.Fuzz(func(t *testing.T, b []byte) {})
}

// FuzzBroken falls to almost any input.
func FuzzBroken(f *testing.F) {
	f.Add([]byte("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1 {
			t.Error("two bytes")
		}
	})
}
