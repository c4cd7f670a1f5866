//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// sameVolume reports whether two folders, or those that they are to be made in, are on one volume; known is false where
// that cannot be told.
func sameVolume(a, b string) (same, known bool) {
	x, ok := device(a)
	y, ok2 := device(b)
	return x == y, ok && ok2
}

func device(path string) (uint64, bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return 0, false
	}
	info, err := os.Stat(path)
	for err != nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		info, err = os.Stat(path)
	}
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return uint64(st.Dev), true
}
