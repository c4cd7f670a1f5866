//go:build unix

package checkpoint

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

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

// links is how many names a file has, 0 if that is not known.
func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 0
}
