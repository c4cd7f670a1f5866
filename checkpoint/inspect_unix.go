//go:build unix

package checkpoint

import "syscall"

// writable reports why this process cannot make files in a folder: its mode, its
// owner, or a volume that is mounted read-only.
func writable(path string) error {
	const write, search = 2, 1 // access(2)
	return syscall.Access(path, write|search)
}
