//go:build cgo

package siem

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// web is a SIEM that takes events by HTTPS. What it has of the product it stands
// for is its judge, who answers as the product's documentation says.
type web struct {
	t     *testing.T
	ca    *authority
	proxy bool // it is an HTTP proxy, behind which it is every host there is
	addr  string
	judge judge

	mu       sync.Mutex     // guards what follows
	servers  []*http.Server // none: it is down
	done     sync.WaitGroup
	ill      int // so many requests are answered with 503 yet
	taken    []taken
	refusals []string // answers other than success, without those while ill
}

// taken is an event as a SIEM has it: the record, and the time beside it, zero if
// it has none.
type taken struct {
	text string
	at   time.Time
}

// judge answers a request whose body is unpacked already, and says which events
// it took. It is asked one request at a time.
type judge func(r *http.Request, body []byte) (status int, answer string, events []taken)

// newWeb is up, for clients that trust the authority.
func newWeb(t *testing.T, ca *authority, j judge) *web {
	t.Helper()
	return (&web{t: t, ca: ca, judge: j}).first()
}

// newProxy is a newWeb of a SIEM whose address cannot be set: it has all of them.
func newProxy(t *testing.T, ca *authority, j judge) *web {
	t.Helper()
	return (&web{t: t, ca: ca, judge: j, proxy: true}).first()
}

// first starts it in health.
func (w *web) first() *web {
	w.t.Helper()
	w.addr = "127.0.0.1:0"
	w.start()
	w.mu.Lock()
	w.ill = 0
	w.mu.Unlock()
	w.t.Cleanup(w.stop)
	return w
}

// start begins like a product that was down: it listens before it can do its
// work.
func (w *web) start() {
	w.t.Helper()
	l, err := net.Listen("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addr, w.ill = l.Addr().String(), 1
	if w.proxy {
		w.serve(l, http.HandlerFunc(w.connect))
	} else {
		w.serve(tls.NewListener(l, w.tls("127.0.0.1")), w)
	}
}

// serve answers at a listener until it stops; mu is held.
func (w *web) serve(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	w.servers = append(w.servers, server)
	w.done.Go(func() { _ = server.Serve(l) }) // it returns when it is closed
}

func (w *web) tls(host string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{w.ca.certificate(host)}, MinVersion: tls.VersionTLS12}
}

// stop ends it, but not between what it takes and its answer: what is not
// answered comes again.
func (w *web) stop() {
	w.mu.Lock()
	servers := w.servers
	w.servers = nil
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, server := range servers {
		_ = server.Shutdown(ctx) // a connection that has asked nothing yet is waited for in vain
		server.Close()
	}
	w.done.Wait()
}

// connect is a client's way through the proxy to a host, which is this one again.
func (w *web) connect(rw http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil {
		http.Error(rw, "CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	conn, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.servers == nil {
		conn.Close()
		return
	}
	conns := make(chan net.Conn, 1)
	conns <- tls.Server(conn, w.tls(host))
	close(conns)
	w.serve(single{conns, conn.LocalAddr()}, w)
}

// single is a listener of connections that are there already.
type single struct {
	conns <-chan net.Conn
	addr  net.Addr
}

func (s single) Accept() (net.Conn, error) {
	if conn, ok := <-s.conns; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (s single) Close() error   { return nil }
func (s single) Addr() net.Addr { return s.addr }

// maxBody is the longest body, unpacked.
const maxBody = 64 << 20

func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := unpacked(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	status, answer := http.StatusServiceUnavailable, ""
	switch {
	case w.ill > 0:
		w.ill--
	case err != nil:
		status, answer = http.StatusBadRequest, err.Error()
	default:
		var events []taken
		status, answer, events = w.judge(r, body)
		w.taken = append(w.taken, events...)
	}
	if status >= 400 && status != http.StatusServiceUnavailable {
		w.refusals = append(w.refusals, r.Method+" "+r.URL.Path+": "+http.StatusText(status)+": "+answer)
	}
	if strings.HasPrefix(answer, "{") {
		rw.Header().Set("Content-Type", "application/json")
	}
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, answer) // to a client that may be gone
}

// unpacked is the body of a request, which may be compressed.
func unpacked(r *http.Request) ([]byte, error) {
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		gz, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		reader = gz
	}
	return io.ReadAll(io.LimitReader(reader, maxBody))
}

func (w *web) got() (texts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.taken {
		texts = append(texts, e.text)
	}
	return texts
}

// refusedNothing asserts that all that a SIEM was sent is as it wants it.
func (b *bed) refusedNothing(w *web) {
	b.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, refusal := range w.refusals[:min(len(w.refusals), 5)] {
		b.t.Errorf("refused: %.2000s", refusal)
	}
	if w.ill > 0 {
		b.t.Error("nothing came while it answered with 503")
	}
}

// onTime asserts that each event came with Duo's time beside it, as exactly as
// the way to the SIEM has it.
func (b *bed) onTime(events []taken, precision time.Duration) {
	b.t.Helper()
	filed := b.events()
	for _, e := range events {
		eventID := b.eventID(e.text)
		want := filed[eventID[:max(strings.LastIndexByte(eventID, '-'), 0)]].at
		if e.at.IsZero() || e.at.Sub(want).Abs() >= precision {
			b.t.Fatalf("%s has the time %v, want %v", eventID, e.at, want)
		}
	}
}

// leads are the edits that lead an example from a place to an address, whose
// certificate an authority of the test's own has issued.
func leads(t *testing.T, ca *authority, addr, host, port string) []edit {
	t.Helper()
	h, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return append(trusting(ca), edit{old: " " + host + "\n", new: " " + h + "\n"}, edit{old: " " + port + "\n", new: " " + p + "\n"})
}

// trusting has an example's only output with TLS trust an authority.
func trusting(ca *authority) []edit {
	return []edit{{old: "    tls.verify            on\n", new: "    tls.verify on\n    tls.ca_file " + ca.file + "\n"}}
}

// request is what a judge is to refuse, or to take.
type request struct {
	name, method, path, body string
	headers                  []string // Name: value
	want                     int
}

// judgesAsDocumented sends requests to a judge, so that no test passes for one
// that takes anything.
func judgesAsDocumented(t *testing.T, j judge, requests []request) {
	t.Helper()
	for _, q := range requests {
		r, err := http.NewRequest(q.method, "https://siem.example.com"+q.path, strings.NewReader(q.body))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range q.headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		if got, answer, _ := j(r, []byte(q.body)); got != q.want {
			t.Errorf("%s: status %d %s, want %d", q.name, got, answer, q.want)
		}
	}
}

// has tells whether a request has one of the values of a header.
func has(r *http.Request, header string, values ...string) bool {
	return slices.Contains(values, r.Header.Get(header))
}
