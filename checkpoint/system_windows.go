package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// DefaultDir is the folder of checkpoints where nobody chose another.
var DefaultDir = filepath.Join(cmp.Or(os.Getenv("ProgramData"), `C:\ProgramData`), "duo_in")

const (
	// asIs: a symbolic link is opened instead of what it names, and then refused for what it is.
	asIs = syscall.FILE_FLAG_OPEN_REPARSE_POINT
	// nameAt is where in a lock file the owner's name begins: nobody else can read the byte before it, which is locked.
	nameAt = 1
)

// noLinks reports whether a file could not be linked because its file system, such as FAT, has no links.
func noLinks(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, windows.ERROR_INVALID_FUNCTION)
}

// processUser is who an operator must let write to the folder.
func processUser() string { return "the user it runs as" }

// bootID tells one run of the machine's kernel from another. It is the time of the boot as it was set then: where the clock
// was set since, the kernel has moved the time and noted by how much (SYSTEM_TIMEOFDAY_INFORMATION).
func bootID() string {
	var info struct {
		bootTime, currentTime, timeZoneBias int64
		timeZone, _                         uint32
		bootTimeBias, sleepTimeBias         int64
	}
	err := windows.NtQuerySystemInformation(windows.SystemTimeOfDayInformation, unsafe.Pointer(&info), uint32(unsafe.Sizeof(info)), nil)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", info.bootTime-info.bootTimeBias)
}
