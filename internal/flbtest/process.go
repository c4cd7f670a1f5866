package flbtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a host that was started. Its owner calls Kill at the end, also
// after Stop; the methods may be called from several goroutines.
type Process struct {
	kind  Kind
	cmd   *exec.Cmd
	log   output
	stdin io.WriteCloser // the C host's

	noSignals bool

	commands sync.Mutex // one at a time, so that each answer has its question

	done chan struct{} // closed when the process is gone; then exit is valid
	exit int
}

// Start writes the configuration and starts the host, bin. It does not wait
// until the host is ready; both hosts log when they are, see [Process.WaitReady].
func Start(kind Kind, bin string, s Spec) (*Process, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if s.Config != "" && kind != FluentBit {
		return nil, fmt.Errorf("start %v: a Config is for Fluent Bit only", kind)
	}
	paths := []*string{&s.Dir, &bin}
	if s.Plugin != LinkedIn && s.Plugin != "" {
		paths = append(paths, &s.Plugin)
	}
	for _, path := range paths {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, fmt.Errorf("start %v: %w", kind, err)
		}
		*path = abs
	}
	config, err := s.write(kind)
	if err != nil {
		return nil, fmt.Errorf("start %v: %w", kind, err)
	}
	args := append(slices.Clone(s.Platform.run), bin, config)
	p := &Process{kind: kind, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{}), noSignals: s.Platform.Windows()}
	if kind == FluentBit {
		p.cmd.Args = []string{bin, "-c", config}
		if s.Plugin != "" {
			p.cmd.Args = []string{bin, "-e", s.Plugin, "-c", config}
		}
		if s.HotReload {
			p.cmd.Args = append(p.cmd.Args, "-Y")
		}
	} else if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %v: %w", kind, err)
	}
	p.cmd.Dir = s.Dir
	p.cmd.Env = append(os.Environ(), s.Env...)
	p.cmd.Stdout = p.log.tee(s.Stdout)
	p.cmd.Stderr = p.log.tee(s.Stderr)
	p.cmd.WaitDelay = 5 * time.Second // should a child hold the pipes
	ownGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %v: %w", kind, err)
	}
	go p.wait()
	return p, nil
}

// write makes the folders and the configuration, and returns its path.
func (s Spec) write(kind Kind) (string, error) {
	for _, dir := range []string{"out", "storage"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, dir), 0o700); err != nil {
			return "", err
		}
	}
	name, config := kind.String()+".conf", s.config(kind)
	if s.Config != "" {
		name, config = s.ConfigName, []byte(s.Config)
	}
	path := filepath.Join(s.Dir, name)
	return path, os.WriteFile(path, config, 0o600)
}

// wait ends with the process.
func (p *Process) wait() {
	_ = p.cmd.Wait() // says no more than the state does
	p.exit = p.cmd.ProcessState.ExitCode()
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		p.exit = 128 + int(ws.Signal())
	}
	close(p.done)
}

// Pid is the id of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process with SIGKILL, if it still runs, and waits until it is
// gone.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %v: %w", p.kind, err)
	}
	<-p.done
	return nil
}

// Close is Kill.
func (p *Process) Close() error { return p.Kill() }

// Signal sends a signal, for example SIGHUP.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Wait waits for the end of the process. exit is its status, or 128 and the
// number of the signal that ended it.
func (p *Process) Wait(ctx context.Context) (exit int, err error) {
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		return -1, p.errorf("does not end: %w", context.Cause(ctx))
	}
}

// Stop sends SIGTERM and waits. A status other than 0 is an error.
func (p *Process) Stop(ctx context.Context) (took time.Duration, err error) {
	start := time.Now()
	err = p.askToStop()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, p.errorf("stop: %w", err)
	}
	exit, err := p.Wait(ctx)
	if err == nil && exit != 0 {
		err = p.errorf("ended with status %d", exit)
	}
	return time.Since(start), err
}

// askToStop sends SIGTERM, or ends the standard input of a host that knows none.
func (p *Process) askToStop() error {
	if p.noSignals {
		return p.stdin.Close()
	}
	return p.Signal(syscall.SIGTERM)
}

// Log is what the process has written to stdout and stderr, of which the
// newest 4 MiB are kept.
func (p *Process) Log() string { return string(p.log.since(0)) }

// WaitLog waits until the log matches re. The end of the process before that
// is an error.
func (p *Process) WaitLog(ctx context.Context, re *regexp.Regexp) error {
	_, err := p.waitLog(ctx, 0, re)
	return err
}

var ready = regexp.MustCompile(`flbhost: running|\[sp\] stream processor started|\[engine\] Shutdown Grace Period`)

// WaitReady waits until all inputs are initialised.
func (p *Process) WaitReady(ctx context.Context) error { return p.WaitLog(ctx, ready) }

// waitLog returns what matched in that part of the log which was written after
// the first `from` bytes.
func (p *Process) waitLog(ctx context.Context, from int64, re *regexp.Regexp) ([]byte, error) {
	for {
		_, changed := p.log.state()
		ended := false
		select {
		case <-p.done:
			ended = true // all its output is there, but look at it once more
		default:
		}
		if found := re.Find(p.log.since(from)); found != nil {
			return found, nil
		}
		if ended {
			return nil, p.errorf("ended with status %d before its log matched %q", p.exit, re)
		}
		select {
		case <-changed:
		case <-p.done:
		case <-ctx.Done():
			return nil, p.errorf("log does not match %q: %w", re, context.Cause(ctx))
		}
	}
}

// Command sends one line to the C host and waits for its answer; host.c lists
// the commands. A pause or resume is answered when the plugin has been called.
func (p *Process) Command(ctx context.Context, line string) error {
	if p.kind != CHost {
		return p.errorf("command %q: only the C host takes commands", line)
	}
	p.commands.Lock()
	defer p.commands.Unlock()
	written, _ := p.log.state()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return p.errorf("command %q: %w", line, err)
	}
	re := regexp.MustCompile(`(?m)^(ok|error) ` + regexp.QuoteMeta(line) + `(:.*)?\n`)
	answer, err := p.waitLog(ctx, written, re)
	if err != nil {
		return err
	}
	if why, refused := bytes.CutPrefix(answer, []byte("error ")); refused {
		return p.errorf("command %s", bytes.TrimSpace(why))
	}
	return nil
}

// errorf names the host, and adds the end of its log.
func (p *Process) errorf(format string, args ...any) error {
	log := p.Log()
	log = log[max(0, len(log)-2<<10):]
	err := fmt.Errorf(format, args...)
	return fmt.Errorf("%v %d: %w; its log ends:\n%s", p.kind, p.Pid(), err, cmp.Or(strings.TrimSpace(log), "(empty)"))
}
