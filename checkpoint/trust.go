package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// Warnings returns what is unsafe about the folder, with the remedy; a line each.
func (s *Store) Warnings() []string { return slices.Clone(s.warnings) }

// judge returns what is unsafe about how a checkpoint folder is set up, "" for
// nothing. groups are those of this process.
func judge(dir string, info fs.FileInfo, uid int, groups []int) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	sticky := mode&fs.ModeSticky != 0
	switch {
	case !ok:
		return ""
	case st.Uid != 0 && int(st.Uid) != uid:
		return fmt.Sprintf("checkpoint_dir %s belongs to user id %d, who can make logs begin anew or skip events; if that is not meant, chown it to user id %d", dir, st.Uid, uid)
	case mode&0o002 != 0 && !sticky:
		return fmt.Sprintf("checkpoint_dir %s can be written to by every user (mode %04o), who can make logs begin anew or skip events; chmod -R o-w it", dir, mode.Perm())
	case mode&0o020 != 0 && !sticky && !slices.Contains(groups, int(st.Gid)):
		// A group of this process's own is how Kubernetes and operators give access.
		return fmt.Sprintf("checkpoint_dir %s can be written to by group id %d (mode %04o), which can make logs begin anew or skip events; if that is not meant, chmod -R g-w it", dir, st.Gid, mode.Perm())
	}
	return ""
}

// warnings judges the folder of a store.
func warnings(dir string) []string {
	info, err := os.Stat(dir)
	groups, groupsErr := os.Getgroups()
	if err != nil || groupsErr != nil {
		return nil
	}
	if w := judge(dir, info, os.Geteuid(), append(groups, os.Getegid())); w != "" {
		return []string{w}
	}
	return nil
}

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
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return nil, fmt.Errorf("%s has %d hard links: remove it", f.Name(), st.Nlink)
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

// notPlanted refuses what belongs to another user, where anybody may have put it:
// neither to root, nor to the owner of the folder that it is in.
func notPlanted(path string, info fs.FileInfo) error {
	parent, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	in, ok2 := parent.Sys().(*syscall.Stat_t)
	if !ok || !ok2 || parent.Mode()&0o002 == 0 || isMine(info) || of.Uid == 0 || of.Uid == in.Uid {
		return nil
	}
	return fmt.Errorf("%s belongs to user id %d, in a folder that anybody may write to: remove it, or chown it to user id %d", path, of.Uid, os.Geteuid())
}

func isMine(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
