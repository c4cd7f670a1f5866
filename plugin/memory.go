package main

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much garbage may pile up, in percent of what lives, before it is
// collected. What lives are batches and pages, in which the collector has nothing to
// look for: so it costs no more than with Go's own 100, and the process stays a
// quarter smaller.
const gcPercent = 25

// saveMemory sets gcPercent, unless the operator has set the environment's GOGC.
// The host has no other Go in it: two in a process are not supported.
func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
