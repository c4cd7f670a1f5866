package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

// Inspect looks at the folder dir with Open's eyes, and makes, changes and locks nothing. It says whether the folder is
// still to be made, what is unsafe about it, with the remedy, and as an error why Open would fail, as far as that can be
// told beforehand.
func Inspect(dir string) (missing bool, unsafe []string, err error) {
	missing, unsafe, err = inspect(dir)
	if err != nil {
		err = fmt.Errorf("checkpoint folder %q: %w: set checkpoint_dir to a folder, on a volume that lasts, that %s can write to",
			dir, err, processUser())
	}
	return missing, unsafe, err
}

func inspect(dir string) (missing bool, unsafe []string, err error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return false, nil, err
	}
	info, err := os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
		if _, linked := os.Lstat(at); linked == nil {
			return true, nil, err // a link that leads to nothing, where no folder can be made
		}
		missing, at = true, filepath.Dir(at)
		info, err = os.Stat(at)
	}
	switch {
	case err != nil:
		return missing, nil, err
	case !info.IsDir():
		return missing, nil, &fs.PathError{Op: "mkdir", Path: at, Err: syscall.ENOTDIR}
	}
	if err := writable(at); err != nil {
		return missing, nil, &fs.PathError{Op: "write to", Path: at, Err: err}
	}
	if missing {
		return true, nil, nil
	}
	if at, err = filepath.EvalSymlinks(at); err != nil {
		return false, nil, err
	}
	if err := notPlanted(at, info); err != nil {
		return false, nil, err
	}
	return false, warnings(at), nil
}

// Holder returns who has a stream in the folder dir at the moment, nil for nobody. It makes and writes nothing. If the
// stream is free it is locked for the instant that the look takes; who wants it then tries again.
func Holder(dir string, st Stream) *LockedError {
	st = st.canonical()
	return heldBy(filepath.Join(dir, st.Host, st.Account, st.Log+".lock"), false)
}

// FamilyHolder is Holder for what AcquireFamily takes.
func FamilyHolder(dir string, parent Stream, all bool) *LockedError {
	parent = parent.canonical()
	return heldBy(filepath.Join(dir, parent.Host, ".accounts."+parent.Log+".lock"), !all)
}

func heldBy(path string, shared bool) *LockedError {
	file := flock.New(path, flock.SetFlag(os.O_RDONLY|asIs))
	try := file.TryLock
	if shared {
		try = file.TryRLock
	}
	ok, err := try()
	if err != nil {
		return nil // it is not there, or Open has its say
	}
	if ok {
		file.Unlock() // closing it is enough; nothing else can fail here
		return nil
	}
	pid, owner := holder(path)
	return &LockedError{Path: path, PID: pid, Owner: owner}
}
