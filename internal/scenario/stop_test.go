//go:build cgo

package scenario

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

var exits = flag.Int("exits", 13, "times that the C host is told to end while something hangs, in turn each thing that can")

// exitLimit is what Pause, PreExit and Exit may take together.
const exitLimit = 500 * time.Millisecond

// exiting is a bed in which hosts come to a standstill and are told to end.
type exiting struct {
	*bed
	busy     *bed // whose Duo has a long backlog
	children []*duotest.Account
	tags     map[string]*delivery
	undo     []func() // what ends the standstill at hand
}

func newExiting(t *testing.T) *exiting {
	x := &exiting{bed: newBed(t, flbtest.CHost, quickDuo), busy: newBed(t, flbtest.CHost, duotest.Config{}), tags: map[string]*delivery{}}
	x.spec.CollectEvery, x.spec.Grace = 100*time.Millisecond, 200*time.Millisecond
	for _, tag := range []string{"duo", "second", "children"} {
		x.tags[tag] = x.delivery(tag)
	}
	for number := range 60 {
		x.children = append(x.children, x.addChild(number, 1))
	}
	x.busy.backlog(7000, duotest.Authentication) // more than a queue holds
	return x
}

// standstills are what can hang, or is slow, when the end comes. enter returns a
// host that is in the midst of it; lacks says why that cannot be had here.
var standstills = []struct {
	name  string
	lacks func() string
	enter func(*exiting) *flbtest.Process
}{
	{name: "nothing hangs", enter: func(x *exiting) *flbtest.Process {
		p := x.start(x.input("duo", quick...))
		x.ready(p)
		return p
	}},
	{name: "an answer never begins", enter: func(x *exiting) *flbtest.Process {
		return x.hangs(duotest.Fault{Kind: duotest.FaultHang, N: -1})
	}},
	{name: "an answer stops half-way", enter: func(x *exiting) *flbtest.Process {
		return x.hangs(duotest.Fault{Kind: duotest.FaultSlow, Delay: time.Hour, N: -1})
	}},
	{name: "a connect gets no answer", enter: func(x *exiting) *flbtest.Process {
		address := x.fullListener()
		p := x.start(x.input("duo", append(quick, opt("api_host", address))...))
		x.waitFor("connect", time.Minute, func() bool { return connecting(p, address) })
		return p
	}},
	{name: "a TLS handshake never ends", enter: func(x *exiting) *flbtest.Process { return x.talksTo("api_host", "") }},
	{name: "a proxy hangs at CONNECT", enter: func(x *exiting) *flbtest.Process { return x.talksTo("proxy", "http://") }},
	{name: "DNS hangs, Go's resolver", lacks: lacksDNS, enter: func(x *exiting) *flbtest.Process { return x.resolves("go") }},
	{name: "DNS hangs, libc's resolver", lacks: lacksDNS, enter: func(x *exiting) *flbtest.Process { return x.resolves("cgo") }},
	{name: "the queue is full", enter: (*exiting).fullQueue},
	{name: "the disk hangs", lacks: lacksStrace, enter: (*exiting).stuckDisk},
	{name: "nobody reads stderr", enter: (*exiting).stuckStderr},
	{name: "180 streams have saves due", enter: (*exiting).manyStreams},
	{name: "Init waits for a lock", enter: (*exiting).waitsForLock},
}

// However the host stands when it is told to end, at a random moment, our part
// of that is over within half a second; and when all is well again nothing is
// missing.
func TestExits(t *testing.T) {
	x, rnd := newExiting(t), newRand(t)
	l := x.startLoad(gap, 50)
	took := map[string][]time.Duration{}
	for i := range *exits {
		s := standstills[i%len(standstills)]
		if s.lacks != nil && s.lacks() != "" {
			continue
		}
		p := s.enter(x)
		took[s.name] = append(took[s.name], x.end(p, rnd))
		if t.Failed() {
			t.Fatalf("%s:\n%s", s.name, p.Log())
		}
	}
	l.end()
	p := x.start(x.input("duo", quick...), x.providerInput())
	x.waitFor("end of the missing events", time.Minute, func() bool { return x.missing() == 0 })
	x.stop(p)
	for _, s := range standstills {
		t.Run(s.name, func(t *testing.T) {
			if s.lacks != nil && s.lacks() != "" {
				t.Skip("NOT RUN: ", s.lacks())
			}
			t.Log(spread(took[s.name]))
		})
	}
	all := slices.Concat(slices.Collect(maps.Values(took))...)
	t.Logf("%s; %d events, 0 missing", spread(all), len(x.tags["duo"].count))
}

// spread describes how long exits took.
func spread(took []time.Duration) string {
	if len(took) == 0 {
		return "none"
	}
	slices.Sort(took)
	n := len(took)
	return fmt.Sprintf("%d exits: median %v, 99 %% within %v, longest %v", n, took[n/2], took[(99*n+99)/100-1], took[n-1])
}

// end ends a host at a random moment, and the standstill after it, and returns
// what our part of it took.
func (x *exiting) end(p *flbtest.Process, rnd *rand.Rand) time.Duration {
	x.t.Helper()
	pause(time.Duration(rnd.Int64N(int64(500 * time.Millisecond))))
	if err := p.Signal(syscall.SIGTERM); err != nil {
		x.t.Fatal(err)
	}
	var exits []flbtest.Exit
	x.waitFor("exit", time.Minute, func() bool { exits = p.Exits(); return exits != nil })
	if exits[0].Own() > exitLimit {
		x.t.Errorf("the exit took %v, of which the machine stood still for %v", exits[0].Took, exits[0].Stood)
	}
	for _, f := range slices.Backward(x.undo) {
		f()
	}
	x.undo = nil
	x.stop(p)
	return exits[0].Own()
}

// later has f done when our part of the exit is over.
func (x *exiting) later(f func()) { x.undo = append(x.undo, f) }

// missing counts events that came under no tag.
func (x *exiting) missing() (n int) {
	for _, d := range x.tags {
		d.update()
	}
	for _, log := range duotest.Logs() {
		for _, id := range x.server.IDs(log) {
			if x.tags["duo"].ids[id]+x.tags["second"].ids[id] == 0 {
				n++
			}
		}
	}
	got := x.tags["children"].arrived()
	for _, c := range x.children {
		missing, _ := absentOf(c, got[c.ID])
		n += missing
	}
	return n
}

// calls is how many Duo has had.
func (x *exiting) calls() (n int) {
	for _, log := range duotest.Logs() {
		n += x.server.Count(log).Calls
	}
	return n
}

// hangs starts a host whose calls all meet a fault, and waits for one that does.
func (x *exiting) hangs(f duotest.Fault) *flbtest.Process {
	x.server.Fault(f)
	x.later(x.server.ClearFaults)
	before := x.calls()
	p := x.start(x.input("duo", quick...))
	x.waitFor("call", time.Minute, func() bool { return x.calls() > before })
	return p
}

// talksTo starts a host that calls somebody who listens and never says a word.
func (x *exiting) talksTo(option, scheme string) *flbtest.Process {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	x.later(func() { listener.Close() })
	var heard atomic.Bool
	go func() { // ends with the listener
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the host
				defer c.Close()
				if n, _ := c.Read(make([]byte, 1)); n == 1 {
					heard.Store(true)
				}
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	p := x.start(x.input("duo", append(quick, opt(option, scheme+listener.Addr().String()))...))
	x.waitFor("first byte", time.Minute, heard.Load)
	return p
}

// fullListener returns the address of a socket whose backlog is full: a connect
// to it gets no answer, as from a host behind a firewall.
func (x *exiting) fullListener() (address string) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	x.later(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		x.t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		x.t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		x.t.Fatal(err)
	}
	address = fmt.Sprint("127.0.0.1:", name.(*syscall.SockaddrInet4).Port)
	for range 10 {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		x.later(func() { c.Close() })
	}
	x.t.Fatal("the backlog does not fill up")
	return ""
}

// connecting reports whether a connect to the address is under way.
func connecting(p *flbtest.Process, address string) bool {
	sockets, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", p.Pid()))
	_, port, _ := net.SplitHostPort(address)
	var number int
	fmt.Sscan(port, &number)
	const synSent = "02"
	return strings.Contains(string(sockets), fmt.Sprintf(" 0100007F:%04X %s ", number, synSent))
}

// nameserver is where the resolver asks that never gets an answer: an address of
// this process, since resolv.conf cannot name a port.
var nameserver = fmt.Sprintf("127.%d.%d.53", 1+os.Getpid()/256%254, os.Getpid()%256)

// withResolver becomes its arguments, in a mount namespace of its own in which
// the first of them is /etc/resolv.conf.
const withResolver = `exec unshare --user --map-root-user --mount sh -ec 'mount --bind "$0" /etc/resolv.conf; exec "$@"'`

var lacksDNS = sync.OnceValue(func() string {
	c, err := net.ListenPacket("udp", nameserver+":53")
	if err != nil {
		return fmt.Sprintf("%v: run it as root", err)
	}
	c.Close()
	if out, err := exec.Command("sh", "-c", withResolver+" /etc/hosts true").CombinedOutput(); err != nil {
		return fmt.Sprintf("unshare: %v: %s", err, out)
	}
	return ""
})

// resolves starts a host that asks a nameserver that never answers.
func (x *exiting) resolves(resolver string) *flbtest.Process {
	c, err := net.ListenPacket("udp", nameserver+":53")
	if err != nil {
		x.t.Fatal(err)
	}
	x.later(func() { c.Close() })
	conf, script := filepath.Join(x.dir, "resolv.conf"), filepath.Join(x.dir, "host-with-resolver")
	text := fmt.Sprintf("#!/bin/sh\n%s '%s' '%s' \"$@\"\n", withResolver, conf, artifacts.hosts[flbtest.CHost])
	for path, content := range map[string]string{conf: "nameserver " + nameserver + "\n", script: text} {
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			x.t.Fatal(err)
		}
	}
	spec := x.spec
	spec.Inputs = []flbtest.Input{x.input("duo", append(quick, opt("api_host", "api-00000000.duosecurity.com"))...)}
	spec.Env = append(spec.Env, "GODEBUG=netdns="+resolver)
	p := x.startHost(script, spec)
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		x.t.Fatal(err)
	}
	if _, _, err := c.ReadFrom(make([]byte, 512)); err != nil {
		x.t.Fatalf("no question came: %v\n%s", err, p.Log())
	}
	return p
}

// fullQueue starts a host that has a backlog to read and whose output is down,
// and waits until it calls no more: with room left it would each second.
func (x *exiting) fullQueue() *flbtest.Process {
	dir, err := os.MkdirTemp(x.dir, "queue-")
	if err != nil {
		x.t.Fatal(err)
	}
	p := x.start(x.input("queue", opt("api_host", x.busy.duo.Addr), opt("since", "25h"), opt("logs", "authentication"), opt("checkpoint_dir", dir)))
	x.ready(p)
	x.command(p, "pause queue")
	calls := -1
	x.waitFor("end of the calls", time.Minute, func() bool {
		before := calls
		pause(1200 * time.Millisecond)
		calls = x.busy.server.Count(duotest.Authentication).Calls
		return calls == before
	})
	return p
}

// slowDisk becomes its arguments, with a tracer behind it that holds up each sync
// for so many seconds and leaves all other calls alone.
const slowDisk = `exec strace -D -f --seccomp-bpf -o /dev/null -e trace=fsync -e inject=fsync:delay_enter=%ds `

var lacksStrace = sync.OnceValue(func() string {
	if out, err := exec.Command("sh", "-c", fmt.Sprintf(slowDisk, 0)+"true").CombinedOutput(); err != nil {
		return fmt.Sprintf("install strace, and let it trace: %v: %s", err, out)
	}
	return ""
})

// stuckDisk starts a host whose syncs take a minute, and waits for one. It needs
// checkpoints that are there, so that its Init makes none.
func (x *exiting) stuckDisk() *flbtest.Process {
	spec, script := x.spec, filepath.Join(x.dir, "host-with-slow-disk")
	text := fmt.Sprintf("#!/bin/sh\n"+slowDisk+"'%s' \"$@\"\n", 60, artifacts.hosts[flbtest.CHost])
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		x.t.Fatal(err)
	}
	spec.Inputs = []flbtest.Input{x.input("duo", append(quick, opt("settle", "500ms"))...)}
	p := x.startHost(script, spec)
	x.ready(p)
	tracer := tracerOf(p)
	if tracer == 0 {
		x.t.Fatal("the tracer is gone")
	}
	x.later(func() { _ = syscall.Kill(tracer, syscall.SIGKILL) }) // or the sync would hold up the end of the process
	var held []string
	x.waitFor("sync that hangs", time.Minute, func() bool {
		before := held
		held = stopped(p)
		return slices.ContainsFunc(held, func(thread string) bool { return slices.Contains(before, thread) })
	})
	return p
}

func tracerOf(p *flbtest.Process) (pid int) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	_, rest, _ := strings.Cut(string(status), "TracerPid:")
	_, _ = fmt.Sscan(rest, &pid)
	return pid
}

// stopped returns the threads that a tracer holds.
func stopped(p *flbtest.Process) (threads []string) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid()))
	for _, file := range files {
		if stat, _ := os.ReadFile(file); strings.Contains(string(stat), ") t ") {
			threads = append(threads, file)
		}
	}
	return threads
}

// stuckStderr starts a host that has something to say, while it is paused so
// that it must say it itself, and whose stderr is read by nobody until two
// seconds later, when it must have been through with its exit.
func (x *exiting) stuckStderr() *flbtest.Process {
	spec, t := x.spec, &tap{shut: make(chan struct{})}
	spec.Stderr = t
	spec.Inputs = []flbtest.Input{x.input("duo", quick...)}
	p := x.startSpec(spec)
	x.ready(p)
	x.command(p, "pause duo")
	t.closed.Store(true)
	x.later(func() { x.server.ClearFaults() })
	x.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, N: -1})
	before := x.calls()
	x.waitFor("faults", time.Minute, func() bool { return x.calls() >= before+3 })
	x.fill(fmt.Sprintf("/proc/%d/fd/2", p.Pid()))
	time.AfterFunc(2*time.Second, func() { close(t.shut) })
	return p
}

// tap is a reader of stderr that stops when it is closed, until shut is.
type tap struct {
	closed atomic.Bool
	shut   chan struct{}
}

func (t *tap) Write(b []byte) (int, error) {
	if t.closed.Load() {
		<-t.shut
	}
	return len(b), nil
}

// fill writes to a pipe that nobody reads until it takes no more. Opened anew, it
// does not wait, while who writes to it by its own descriptor does.
func (x *exiting) fill(pipe string) {
	fd, err := syscall.Open(pipe, syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	defer syscall.Close(fd)
	full := 0
	x.waitFor("full pipe", time.Minute, func() bool {
		for err = nil; err == nil; {
			_, err = syscall.Write(fd, []byte("\n"))
		}
		full++ // the reader may have one more piece in its hands
		return err == syscall.EAGAIN && full > 2
	})
}

func (x *exiting) providerInput() flbtest.Input {
	return x.input("children", append(quick, opt("accounts", "all"))...)
}

// manyStreams starts a host that pulls the children's logs, each of which has
// something new.
func (x *exiting) manyStreams() *flbtest.Process {
	for i, c := range x.children {
		for k, log := range duotest.Logs() {
			g := duotest.NewGenerator(log, uint64(time.Now().UnixNano())+uint64(3*i+k), duotest.Options{})
			c.Add(log, g.At(time.Now()))
		}
	}
	before := x.tags["children"].update()
	p := x.start(x.providerInput())
	x.waitFor("children's events", time.Minute, func() bool { return x.tags["children"].update() > before+60 })
	return p
}

// waitsForLock starts a host whose Init waits for one that runs already. That
// one ends in time, so that the second still begins, and then ends at once.
func (x *exiting) waitsForLock() *flbtest.Process {
	first := x.start(x.input("duo", quick...))
	x.ready(first)
	second := x.start(x.input("second", quick...))
	x.waitFor("Init", time.Minute, func() bool {
		names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", second.Pid()))
		return slices.ContainsFunc(names, func(file string) bool {
			name, _ := os.ReadFile(file)
			return strings.HasPrefix(string(name), "flb-in-duo")
		})
	})
	time.AfterFunc(time.Second, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := first.Stop(ctx); err != nil {
			x.t.Error(err)
		}
	})
	return second
}
