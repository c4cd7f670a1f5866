package flbtest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Receiver is what a SIEM's collector is to Fluent Bit: a port of the loopback
// interface that takes lines over TCP, or a line or more with each datagram over
// UDP. Its owner calls Close.
type Receiver struct {
	Addr string // host:port

	tls    *tls.Config // nil without
	closer interface{ Close() error }
	done   sync.WaitGroup

	mu    sync.Mutex // guards what follows
	lines []string
	conns map[net.Conn]bool // nil once closed
}

// maxLine is the longest line that a Receiver takes.
const maxLine = 16 << 20

// NewReceiver listens; network is tcp or udp.
func NewReceiver(network string) (*Receiver, error) {
	r := &Receiver{conns: map[net.Conn]bool{}}
	if network == "udp" {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("receiver: %w", err)
		}
		r.Addr, r.closer = pc.LocalAddr().String(), pc
		r.done.Go(func() { r.datagrams(pc) })
		return r, nil
	}
	return r.listen("127.0.0.1:0")
}

// NewAbsentReceiver is the place of a collector that is down: nobody listens there, nor is anybody given its port, until
// Reopen.
func NewAbsentReceiver() (*Receiver, error) {
	r, err := (&Receiver{conns: map[net.Conn]bool{}}).listen(net.JoinHostPort(ownAddress(), "0"))
	if err == nil {
		r.Close()
	}
	return r, err
}

var ownAddresses atomic.Int32

// ownAddress is an address of the loopback interface that nobody else uses, where there are several.
func ownAddress() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	n := int(ownAddresses.Add(1))
	return fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%254, 128+n/250%128, 1+n%250)
}

// NewTLSReceiver listens over TLS, with a certificate that its clients trust.
func NewTLSReceiver(certificate tls.Certificate) (*Receiver, error) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	return (&Receiver{conns: map[net.Conn]bool{}, tls: config}).listen("127.0.0.1:0")
}

// Reopen takes the closed Receiver's place, one of TCP or TLS: a collector that is up again. It has none of its lines.
func (r *Receiver) Reopen() (*Receiver, error) {
	return (&Receiver{conns: map[net.Conn]bool{}, tls: r.tls}).listen(r.Addr)
}

func (r *Receiver) listen(addr string) (*Receiver, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("receiver: %w", err)
	}
	r.Addr, r.closer = l.Addr().String(), l
	if r.tls != nil {
		l = tls.NewListener(l, r.tls)
	}
	r.done.Go(func() { r.accept(l) })
	return r, nil
}

func (r *Receiver) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed
		}
		if r.keep(conn) {
			r.done.Go(func() { r.read(conn) })
		}
	}
}

// keep notes a connection for Close, unless that came before it.
func (r *Receiver) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		conn.Close()
		return false
	}
	r.conns[conn] = true
	return true
}

func (r *Receiver) read(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxLine)
	lines.Split(wholeLines)
	for lines.Scan() {
		r.take(lines.Text())
	}
}

// wholeLines is bufio.ScanLines without what a connection's end leaves of a line:
// who was killed while he sent it sends it again.
func wholeLines(data []byte, _ bool) (advance int, line []byte, err error) {
	return bufio.ScanLines(data, false)
}

func (r *Receiver) datagrams(pc net.PacketConn) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := pc.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		r.take(strings.Split(strings.TrimSuffix(string(buf[:n]), "\n"), "\n")...)
	}
}

func (r *Receiver) take(lines ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, lines...)
}

// Lines returns what came so far, in order, without the ends of the lines.
func (r *Receiver) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// Close ends the receiver and all connections to it.
func (r *Receiver) Close() {
	r.closer.Close()
	r.mu.Lock()
	for conn := range r.conns {
		conn.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.done.Wait()
}
