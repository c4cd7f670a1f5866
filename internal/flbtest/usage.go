package flbtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
)

// Usage is what a process holds.
type Usage struct {
	Resident int64 // bytes
	Peak     int64 // bytes, the most that was resident at any time
	Files    int   // open file descriptors
	Threads  int
}

// Usage reads what the process holds from Linux's /proc.
func (p *Process) Usage() (Usage, error) {
	proc := fmt.Sprintf("/proc/%d/", p.Pid())
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return Usage{}, fmt.Errorf("usage of %v: %w", p.kind, err)
	}
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		return Usage{}, fmt.Errorf("usage of %v: %w", p.kind, err)
	}
	u := Usage{Files: len(files)}
	for lines := bufio.NewScanner(bytes.NewReader(status)); lines.Scan(); {
		var kilobytes int64
		if n, _ := fmt.Sscanf(lines.Text(), "VmRSS: %d kB", &kilobytes); n == 1 {
			u.Resident = kilobytes << 10
		}
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kilobytes); n == 1 {
			u.Peak = kilobytes << 10
		}
		_, _ = fmt.Sscanf(lines.Text(), "Threads: %d", &u.Threads)
	}
	return u, nil
}
