//go:build unix

package main

import (
	"os"
	"syscall"
)

// duplicate returns f under a descriptor of its own, or f where there is none
// to be had.
func duplicate(f *os.File) *os.File {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return f
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), f.Name())
}
