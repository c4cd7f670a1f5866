package duo

import "testing"

// UnderRace: the detector makes what looks at every byte of an answer, or lives through days, five to ten times as slow.
// Of what has the same goroutines as a test that is quick it finds nothing more in it. The tests without cgo have run
// all of it by then.
var UnderRace bool

// SkipUnderRace ends a test that is as slow as that.
func SkipUnderRace(t *testing.T) {
	t.Helper()
	if UnderRace {
		t.Skip("runs without the race detector: make pure")
	}
}

// Cases is how many of n cases to run that differ in a number only.
func Cases(n int) int {
	if UnderRace {
		return 1
	}
	return n
}
