//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// ownGroup has the end of a command's context end what it has started, too: the go
// command leaves that behind.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
