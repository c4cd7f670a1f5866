package flbtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"time"
)

// Usage is what a process holds.
type Usage struct {
	Resident int64 // bytes
	Peak     int64 // bytes, the most that was resident at any time
	Files    int   // open file descriptors
	Threads  int
	CPU      time.Duration // user and system, of all threads since the start
}

// Usage reads what the process holds, and has used, from Linux's /proc and its
// clock of the process.
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
	cpu, err := p.CPU()
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Files: len(files), CPU: cpu}
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

// CPU is the time of the processor, user and system, that the process has used in
// all its threads since its start, to the nanosecond.
func (p *Process) CPU() (time.Duration, error) {
	cpu, err := cpuTime(p.Pid())
	if err != nil {
		return 0, fmt.Errorf("processor time of %v: %w", p.kind, err)
	}
	return cpu, nil
}
