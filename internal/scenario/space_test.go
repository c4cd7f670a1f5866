//go:build cgo

package scenario

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// space is a mount and user namespace that hosts run in, one after the other:
// with a small disk for each cell's checkpoints, and with names of its own. It
// takes no privilege, but a kernel that lets users have namespaces.
type space struct {
	holder *exec.Cmd // keeps the namespaces while no host runs
	stdin  io.Closer // ends the holder
	hosts  string    // file that is the space's /etc/hosts
}

// enterSpace has the rig's hosts run in a space. Where there can be none it says
// so loudly.
func (r *rig) enterSpace() bool {
	var err error
	if r.space, err = newSpace(r); err != nil {
		var names []string
		for _, c := range r.cells {
			names = append(names, fmt.Sprintf("%s %s", c.trouble.name, c.place))
		}
		fmt.Fprintf(os.Stderr, "NO NAMESPACES: %v: not run in %v: %s\n", err, r.kind, strings.Join(names, ", "))
		for _, c := range r.cells {
			c.close()
		}
		return false
	}
	r.t.Cleanup(r.space.close)
	return true
}

// newSpace makes a space with the disks and names of the rig's cells, and a
// program that runs the host in it.
func newSpace(r *rig) (*space, error) {
	s := &space{hosts: filepath.Join(r.dir, "hosts")}
	resolv, wrapper := filepath.Join(r.dir, "resolv.conf"), filepath.Join(r.dir, "host.sh")
	script, hosts := "set -e\n", ""
	for i, c := range r.cells {
		if err := os.MkdirAll(c.folder(), 0o700); err != nil {
			return nil, err
		}
		script += fmt.Sprintf("mount -t tmpfs -o size=256k,mode=700 tmpfs '%s'\n", c.folder())
		hosts += hostsLine(r.address(i), c.hostname())
	}
	script += fmt.Sprintf("mount --bind '%s' /etc/hosts\nmount --bind '%s' /etc/resolv.conf\necho ready\nexec cat\n", s.hosts, resolv)
	// Nobody answers there, so that a name that is not in the file is not found.
	if err := errors.Join(os.WriteFile(s.hosts, []byte(hosts), 0o644), os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644)); err != nil {
		return nil, err
	}
	s.holder = exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script)
	stdin, err := s.holder.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := s.holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var trouble strings.Builder
	s.stdin, s.holder.Stderr = stdin, &trouble
	if err := s.holder.Start(); err != nil {
		return nil, err
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		s.close()
		return nil, fmt.Errorf("unshare: %s", strings.TrimSpace(trouble.String()))
	}
	run := fmt.Sprintf("#!/bin/sh\nexec %s '%s' \"$@\"\n", strings.Join(s.enter(), " "), r.bin)
	r.bin = wrapper
	return s, os.WriteFile(wrapper, []byte(run), 0o700)
}

// enter is a command that runs another one in the space.
func (s *space) enter() []string {
	return []string{"nsenter", "--target", fmt.Sprint(s.holder.Process.Pid), "--user", "--mount", "--preserve-credentials", "--"}
}

func (s *space) close() {
	s.stdin.Close()
	_ = s.holder.Wait() // what it says is of no interest any more
}

// path is a path in the space as others reach it.
func (s *space) path(inside string) string {
	return filepath.Join("/proc", fmt.Sprint(s.holder.Process.Pid), "root", inside)
}

// do runs a command in the space.
func (s *space) do(command ...string) error {
	args := append(s.enter(), command...)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}

func hostsLine(address, name string) string { return address + " " + name + "\n" }

// resolves switches a cell's name on or off, in place, so that no reader finds
// the others missing.
func (s *space) resolves(c *cell, yes bool) error {
	all, err := os.ReadFile(s.hosts)
	if err != nil {
		return err
	}
	line := hostsLine(c.rig.address(c.n), c.hostname())
	at := strings.Index(string(all), line[1:])
	if at < 1 {
		return fmt.Errorf("%s has no %s", s.hosts, c.hostname())
	}
	f, err := os.OpenFile(s.hosts, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	first := "#"
	if yes {
		first = line[:1]
	}
	_, err = f.WriteAt([]byte(first), int64(at-1))
	return errors.Join(err, f.Close())
}
