package flbtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
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

// Collect is a call of the collect callback that brought something.
type Collect struct {
	Took   time.Duration
	Queued time.Duration // of Took, how long its thread waited for a processor
	Bytes  int
}

var collect = regexp.MustCompile(`flbhost: collect of (\S+) took (\d+) us, queued (\d+) us, for (\d+) bytes`)

// Collects returns the calls for a tag that the C host has logged, with
// LogCollects, as far as the log is kept: about the last 40,000.
func (p *Process) Collects(tag string) (all []Collect) {
	for _, m := range collect.FindAllStringSubmatch(p.Log(), -1) {
		if m[1] != tag {
			continue
		}
		var n [3]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(m[2+i], 10, 64) // digits, at most 18 of them
		}
		all = append(all, Collect{time.Duration(n[0]) * time.Microsecond, time.Duration(n[1]) * time.Microsecond, int(n[2])})
	}
	return all
}

// Exit is what the plugin's callbacks of a shutdown took.
type Exit struct {
	Took  time.Duration
	Stood time.Duration // of Took, at most how long nobody had a processor
}

// Own is what it took of a machine that does not stand still.
func (e Exit) Own() time.Duration { return max(0, e.Took-e.Stood) }

var exit = regexp.MustCompile(`flbhost: exit of \S+ took (\d+) ms, of which the machine stood still for (\d+) ms`)

// Exits returns those that the C host has logged, one for each input.
func (p *Process) Exits() (all []Exit) {
	for _, m := range exit.FindAllStringSubmatch(p.Log(), -1) {
		var n [2]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(m[1+i], 10, 64) // digits, at most 18 of them
		}
		all = append(all, Exit{time.Duration(n[0]) * time.Millisecond, time.Duration(n[1]) * time.Millisecond})
	}
	return all
}
