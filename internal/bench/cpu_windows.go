package main

import "time"

// ownCPU is not known here: what is measured needs Linux.
func ownCPU() time.Duration { return 0 }
