//go:build unix

package flbtest

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps the terminal's ^C from the host: its owner stops it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
