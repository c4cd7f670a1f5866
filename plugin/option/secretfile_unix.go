//go:build unix

package option

import (
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// readByOthers reports whether a secret's file can be read by users who should
// not. Two kinds are as they should be, though a look at the mode alone would
// warn of them, at each start and of what the operator cannot change:
//
// root:group 0640, or 0440, where the group is one of this process's own: that is
// how distributions, and Kubernetes with fsGroup, give a service its secrets.
//
// What Docker and Kubernetes mount: files of root's, 0444 or 0644, in a file
// system in memory that is mounted read-only. Who else could read them is only
// what runs in the same container. No folder of a machine's own, such as /tmp or
// /dev/shm, is both in memory and read-only.
func readByOthers(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	owner, group := -1, -1
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		owner, group = int(st.Uid), int(st.Gid)
	}
	mode := info.Mode().Perm()
	groups, _ := os.Getgroups()
	ours := slices.Contains(append(groups, os.Getegid()), group)
	switch {
	case mode&0o077 == 0, mode&0o007 == 0 && mode&0o070 == 0o040 && ours:
		return false
	case mode&0o022 == 0 && owner == 0 && mountedSecret(path):
		return false
	}
	return true
}

// permissions are a file's permission bits, none if it is not there.
func permissions(path string) fs.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Mode().Perm()
}
