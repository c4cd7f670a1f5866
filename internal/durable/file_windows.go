package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

// A file that somebody has open, such as a virus scanner, cannot be replaced: it is tried again this often, for that long.
const (
	tryEvery = 20 * time.Millisecond
	tryFor   = 200 * time.Millisecond
)

// File is to become a file. Its owner writes it, calls CloseAtomicallyReplace, and in any case Cleanup.
type File struct {
	*os.File
	path string
}

// Create makes what is to become the file at path. The mode means nothing here: its folder says who may read it.
func Create(path string, _ fs.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return nil, err
	}
	return &File{f, path}, nil
}

// CloseAtomicallyReplace syncs and closes the file and gives it its final name. NTFS journals that as one step, and
// MOVEFILE_WRITE_THROUGH waits for the disk.
func (f *File) CloseAtomicallyReplace() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	from, err := windows.UTF16PtrFromString(f.Name())
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(f.path)
	if err != nil {
		return err
	}
	for end := time.Now().Add(tryFor); ; time.Sleep(tryEvery) {
		err := windows.MoveFileEx(from, to, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
		if err == nil {
			return nil
		}
		inUse := errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
		if !inUse || time.Now().After(end) {
			return &os.LinkError{Op: "rename", Old: f.Name(), New: f.path, Err: err}
		}
	}
}

// Cleanup removes what has not become the file.
func (f *File) Cleanup() error {
	f.Close() // which fails where it was closed before
	if err := os.Remove(f.Name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
