package option

import "syscall"

// mountedSecret reports whether a file lies in a file system in memory that is
// mounted read-only; see statfs(2) for the figures.
func mountedSecret(path string) bool {
	const tmpfs, ramfs, readOnly = 0x01021994, 0x858458f6, 1
	var st syscall.Statfs_t
	err := syscall.Statfs(path, &st)
	return err == nil && (int64(st.Type) == tmpfs || int64(st.Type) == ramfs) && int64(st.Flags)&readOnly != 0
}
