//go:build !linux

package option

// mountedSecret is for what containers mount, on Linux.
func mountedSecret(string) bool { return false }
