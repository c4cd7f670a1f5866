package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// Whoever can write to a checkpoint folder can make a log begin anew, or go on
// too late. What is done about it follows OpenSSH's StrictModes and systemd's
// "unsafe path transition" in what is looked at, but not in what it leads to:
// a collector that refuses to start is what an intruder may want, and in
// containers such modes are common and harmless (Kubernetes makes volumes
// writable for the pod's group, its emptyDir is 0777, a root of another user
// namespace looks like nobody). So how the operator set up the folder leads to
// one line at the start, and what no operator does and duo_in never does is
// refused: symbolic links, pipes and devices in a place of duo_in's own, and, in a
// folder that anybody may write to, what belongs to another user.
//
// It is looked at before use, not at the very moment of use: root and whoever the
// line names can still swap a folder in between.
//
// On Windows, where access lists take the place of owners and modes, only what is
// no folder or file is refused.

// Warnings returns what is unsafe about the folder, with the remedy; a line each.
func (s *Store) Warnings() []string { return slices.Clone(s.warnings) }

// ownFolder refuses what is in the place of a folder of duo_in's own and is none. A
// missing one is fine.
func ownFolder(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link: remove it; only checkpoint_dir itself may be one", path)
	case !info.IsDir():
		return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	return notPlanted(path, info)
}

// ownFile refuses an open file that cannot be one of duo_in's own.
func ownFile(f *os.File) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: remove it", f.Name())
	}
	return info, notPlanted(f.Name(), info)
}

// onlyName is ownFile for one that is written to: it must have no other name, under
// which it may be anybody's.
func onlyName(f *os.File) (fs.FileInfo, error) {
	info, err := ownFile(f)
	if err != nil {
		return nil, err
	}
	if n := links(info); n > 1 {
		return nil, fmt.Errorf("%s has %d hard links: remove it", f.Name(), n)
	}
	return info, nil
}

// linked says what the error of O_NOFOLLOW means.
func linked(path string, err error) error {
	if errors.Is(err, syscall.ELOOP) {
		return fmt.Errorf("%s is a symbolic link: remove it; only checkpoint_dir itself may be one", path)
	}
	return err
}
