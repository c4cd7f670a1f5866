package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// mostFiles bounds the look at the open files of the process.
const mostFiles = 4096

// chunkFolder is the folder of the input's chunks, found by one that is open
// now; "" if there is none.
func chunkFolder(input string) string {
	fds, err := os.Open("/proc/self/fd")
	if err != nil {
		return ""
	}
	defer fds.Close()
	names, _ := fds.Readdirnames(mostFiles)
	for _, fd := range names {
		target, _ := os.Readlink("/proc/self/fd/" + fd)
		if filepath.Ext(target) == ".flb" && filepath.Base(filepath.Dir(target)) == input {
			return filepath.Dir(target)
		}
	}
	return ""
}

func statVolume(folder string) (volume, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return volume{}, err
	}
	block := uint64(s.Frsize)
	return volume{bytes: s.Blocks * block, free: s.Bavail * block, files: s.Files, freeFiles: s.Ffree}, nil
}
