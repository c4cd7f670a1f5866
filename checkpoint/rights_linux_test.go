package checkpoint

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// asUser has the test's own thread look at files as a user without rights, if it is root's, and gives that user the folder
// dir of [testing.T.TempDir]. It reports whether there is such a user.
func asUser(t *testing.T, dir string) bool {
	if os.Geteuid() != 0 {
		return true
	}
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the user is the thread's
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Setfsuid(0) // says in no way whether it did
		runtime.UnlockOSThread()
	})
	return true
}
