package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// roles are what this program does in processes of its own, so that what one of
// them costs is not counted with another: each reads its task from the first
// line of its standard input, in JSON, and ends with that input, so that none
// outlives who started it.
var roles = map[string]func(task []byte, in *bufio.Scanner, out io.Writer) error{
	"duo":   serveDuo,
	"plain": readPlain,
	"bytes": readBytes,
}

// roleVariable names the role that a process of this program plays.
const roleVariable = "DUO_IN_BENCH_ROLE"

// play plays the role that the environment names; played is false if it names
// none.
func play() (status int, played bool) {
	name := os.Getenv(roleVariable)
	if name == "" {
		return 0, false
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	in.Scan()
	if err := roles[name](in.Bytes(), in, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench, as %s: %v\n", name, err)
		return 1, true
	}
	return 0, true
}

// actor is a process that plays a role.
type actor struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Reader
	said  bytes.Buffer // stderr
}

// startActor starts this program in a role. The end of ctx kills it.
func startActor(ctx context.Context, role string, task any) (*actor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	a := &actor{name: role, cmd: exec.CommandContext(ctx, self)}
	a.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	a.cmd.Stderr = &a.said
	if a.stdin, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.lines = bufio.NewReaderSize(out, 1<<16)
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	if _, err := a.stdin.Write(append(text, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", role, err), a.end())
	}
	return a, nil
}

// read reads the next answer into v.
func (a *actor) read(v any) error {
	line, err := a.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil {
		return fmt.Errorf("answer of %s: %w", a.name, errors.Join(err, a.end()))
	}
	return nil
}

// ask sends a line and reads the answer into v.
func (a *actor) ask(question string, v any) error {
	if _, err := io.WriteString(a.stdin, question+"\n"); err != nil {
		return fmt.Errorf("ask %s: %w", a.name, err)
	}
	return a.read(v)
}

// end lets the process end, and waits until it has.
func (a *actor) end() error {
	a.stdin.Close() // it may have ended by itself
	if err := a.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", a.name, err, bytes.TrimSpace(a.said.Bytes()))
	}
	return nil
}

// cpu is what an ended process has used of the processor.
func (a *actor) cpu() time.Duration {
	return a.cmd.ProcessState.UserTime() + a.cmd.ProcessState.SystemTime()
}
