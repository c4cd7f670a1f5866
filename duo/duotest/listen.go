package duotest

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Serving is a server at work on one listener: what Running and PipeListener have in common. It speaks HTTP/1.1, as Duo does.
type Serving struct {
	// CAPEM is the certificate authority's certificate, the one root that a client has to trust.
	CAPEM []byte

	http  *http.Server
	conns sync.WaitGroup // the accept loop and the connections
}

func (s *Server) serve(listener net.Listener) *Serving {
	ca := processAuthority()
	v := &Serving{CAPEM: ca.pem}
	errorLog := s.config.ErrorLog
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	v.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          errorLog,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:         v.track,
	}
	secure := tls.NewListener(listener, s.tlsConfig())
	v.conns.Go(func() { v.http.Serve(secure) }) // it returns when it is closed, and says only that
	return v
}

func (v *Serving) track(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		v.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		v.conns.Done()
	}
}

// Close ends all connections, calls that hang too, and waits until nothing runs any more. It may be called twice.
func (v *Serving) Close() {
	v.http.Close() // what could fail is closing a listener that nothing is expected of any more
	v.conns.Wait()
}

// CAFile writes CAPEM to a file in dir and returns its path.
func (v *Serving) CAFile(dir string) (string, error) {
	path := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(path, v.CAPEM, 0o644); err != nil {
		return "", fmt.Errorf("write CA certificate: %w", err)
	}
	return path, nil
}

// Pool returns the pool of CAPEM alone.
func (v *Serving) Pool() *x509.CertPool { return processAuthority().pool() }

// Running is a server that listens on a socket, and on one more for each child that was added to it.
type Running struct {
	*Serving
	Addr string // host:port

	server   *Server
	mu       sync.Mutex
	closed   bool
	children map[string]*Serving // by id
}

// Listen serves TLS at a TCP address; port 0 picks a free one.
func (s *Server) Listen(address string) (*Running, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err // it names operation and address
	}
	return &Running{Serving: s.serve(listener), Addr: listener.Addr().String(), server: s, children: map[string]*Serving{}}, nil
}

// StartTLS serves TLS on a free port of the loopback interface. It panics if there is none.
func (s *Server) StartTLS() *Running {
	r, err := s.Listen("127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("duotest: %v", err))
	}
	return r
}

// AddChild gives the parent one more child, as Server.AddChild does, and a listener to the child: at the server's own
// address, on the port of the child's Host. Port 0 picks a free one, which the account's Host then names; an empty Host is
// the server's address and port 0.
func (r *Running) AddChild(c Child) (*Account, error) {
	address, _, err := net.SplitHostPort(r.Addr)
	if err != nil {
		return nil, fmt.Errorf("add child %s: %w", c.ID, err)
	}
	name, port, err := net.SplitHostPort(cmp.Or(c.Host, net.JoinHostPort(address, "0")))
	if err != nil {
		return nil, fmt.Errorf("add child %s: host: %w", c.ID, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("add child %s: the server is closed: %w", c.ID, net.ErrClosed)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, port))
	if err != nil {
		return nil, fmt.Errorf("add child %s: %w", c.ID, err)
	}
	_, port, _ = net.SplitHostPort(listener.Addr().String()) // of TCP, so there is one
	c.Host = net.JoinHostPort(name, port)
	a := r.server.AddChild(c)
	r.children[c.ID] = r.server.serve(listener)
	return a, nil
}

// RemoveChild takes a child away, as Server.RemoveChild does, and closes its listener and its connections.
func (r *Running) RemoveChild(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server.RemoveChild(id)
	if v := r.children[id]; v != nil {
		v.Close()
		delete(r.children, id)
	}
}

// Close ends all connections, those to children and calls that hang too, and waits until nothing runs any more. It may be
// called twice.
func (r *Running) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, v := range r.children {
		v.Close()
	}
	clear(r.children)
	r.Serving.Close()
}

// PipeListener is a server that listens in memory, for tests under testing/synctest: it has no sockets, and whatever in it
// waits does so in a way that lets the bubble's clock go on. It must be made and closed inside the bubble.
type PipeListener struct {
	*Serving
	pipes *pipes
}

// Pipe serves TLS in memory.
func (s *Server) Pipe() *PipeListener {
	p := &pipes{dialled: make(chan net.Conn), closed: make(chan struct{}), open: map[*pipeEnd]bool{}}
	return &PipeListener{s.serve(p), p}
}

// DialContext connects to the server, whatever network and address say. It fits http.Transport's field of that name; TLS is
// left to the caller.
func (l *PipeListener) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return l.pipes.dial(ctx, network)
}

// Close ends all connections, calls that hang too, and waits until nothing runs any more. It may be called twice.
func (l *PipeListener) Close() {
	// The pipes first: over one whose other end is not being read TLS could not say goodbye, and would wait.
	l.pipes.Close()
	l.Serving.Close()
}

// pipes is a net.Listener in memory.
type pipes struct {
	dialled chan net.Conn
	closed  chan struct{}

	mu   sync.Mutex
	done bool
	open map[*pipeEnd]bool
}

// pipeEnd is the server's end of a connection.
type pipeEnd struct {
	net.Conn
	of *pipes
}

func (p *pipes) dial(ctx context.Context, network string) (net.Conn, error) {
	client, server := net.Pipe()
	end := &pipeEnd{server, p}
	refused := &net.OpError{Op: "dial", Net: network, Err: net.ErrClosed}
	p.mu.Lock()
	if p.done {
		p.mu.Unlock()
		return nil, refused
	}
	p.open[end] = true
	p.mu.Unlock()
	select {
	case p.dialled <- end:
		return client, nil
	case <-p.closed:
		return nil, refused
	case <-ctx.Done():
		end.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialled:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return nil
	}
	p.done = true
	close(p.closed)
	for end := range p.open {
		end.Conn.Close()
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (e *pipeEnd) Close() error {
	e.of.mu.Lock()
	delete(e.of.open, e)
	e.of.mu.Unlock()
	return e.Conn.Close()
}
