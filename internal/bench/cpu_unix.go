//go:build unix

package main

import (
	"syscall"
	"time"
)

// ownCPU is the time of the processor, user and system, that this process has
// used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it cannot fail for oneself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
