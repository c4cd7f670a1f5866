//go:build unix

package checkpoint

import (
	"os"
	"syscall"
	"testing"
)

// makePipe puts a named pipe at path.
func makePipe(t *testing.T, path string) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// limitFiles has the system refuse to write more than n bytes to a file.
func limitFiles(n uint64) error {
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n})
}

func becomeNobody() error { return syscall.Setuid(65534) }

// The id of this machine's run is found where the system has one.
func TestBootID(t *testing.T) {
	_, err := os.Stat("/proc/sys/kernel/random/boot_id")
	if id := bootID(); (len(id) == 36) != (err == nil) || id != bootID() {
		t.Errorf("boot id %q, file: %v", id, err)
	}
}
