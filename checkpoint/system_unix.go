//go:build unix

package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// DefaultDir is the folder of checkpoints where nobody chose another.
const DefaultDir = "/var/lib/duo_in"

const (
	// asIs: no symbolic link is followed, and a named pipe in the file's place does not block the open.
	asIs = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	// nameAt is where in a lock file the owner's name begins.
	nameAt = 0
)

// noLinks reports whether a file could not be linked because its file system has no links.
func noLinks(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM)
}

// processUser is who an operator must let write to the folder.
func processUser() string { return fmt.Sprintf("user id %d", os.Geteuid()) }

// bootID tells one run of the machine's kernel from another, also in a container; empty where the system has no such thing.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
