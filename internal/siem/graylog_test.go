//go:build cgo

package siem

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// gelf is a Graylog with an input GELF TCP: messages end with a zero byte, and
// what is no GELF is dropped without a word ("GELF Payload Specification").
type gelf struct {
	t           *testing.T
	certificate tls.Certificate
	addr        string
	done        sync.WaitGroup

	mu       sync.Mutex // guards what follows
	listener net.Listener
	conns    map[net.Conn]bool
	taken    []taken
	dropped  []error
}

func newGELF(t *testing.T, ca *authority) *gelf {
	t.Helper()
	g := &gelf{t: t, certificate: ca.certificate("127.0.0.1"), addr: "127.0.0.1:0"}
	g.start()
	t.Cleanup(g.stop)
	return g
}

func (g *gelf) start() {
	g.t.Helper()
	l, err := tls.Listen("tcp", g.addr, &tls.Config{Certificates: []tls.Certificate{g.certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addr, g.listener, g.conns = l.Addr().String(), l, map[net.Conn]bool{}
	g.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			g.mu.Lock()
			if g.conns == nil {
				conn.Close()
			} else {
				g.conns[conn] = true
				g.done.Go(func() { g.read(conn) })
			}
			g.mu.Unlock()
		}
	})
}

func (g *gelf) stop() {
	g.mu.Lock()
	g.listener.Close()
	for conn := range g.conns {
		conn.Close()
	}
	g.conns = nil
	g.mu.Unlock()
	g.done.Wait()
}

// maxMessage is Graylog's, unless it is set otherwise.
const maxMessage = 2 << 20

func (g *gelf) read(conn net.Conn) {
	defer conn.Close()
	messages := bufio.NewScanner(conn)
	messages.Buffer(nil, maxMessage)
	messages.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, 0); i >= 0 {
			return i + 1, data[:i], nil
		}
		return 0, nil, nil
	})
	for messages.Scan() {
		e, err := readGELF(messages.Bytes())
		g.mu.Lock()
		if err != nil {
			g.dropped = append(g.dropped, fmt.Errorf("%w: %.500s", err, messages.Bytes()))
		} else {
			g.taken = append(g.taken, e)
		}
		g.mu.Unlock()
	}
}

// additional is what additional fields are called.
var additional = regexp.MustCompile(`^_[\w.\-]*$`)

// readGELF is the event of a message.
func readGELF(message []byte) (e taken, err error) {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(message))
	if err := dec.Decode(&fields); err != nil {
		return e, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return e, fmt.Errorf("more than an object: %v", err)
	}
	for name, value := range fields {
		_, isText := value.(string)
		number, isNumber := value.(float64)
		switch {
		case !isText && !isNumber:
			return e, fmt.Errorf("%s is neither text nor a number", name)
		case name == "timestamp" && isNumber:
			e.at = time.UnixMilli(int64(math.Round(number * 1000)))
		case name == "timestamp", name == "_id":
			return e, fmt.Errorf("%s is %v", name, value)
		case name == "full_message":
			e.text = value.(string)
		case name != "version" && name != "host" && name != "short_message" && !additional.MatchString(name):
			return e, fmt.Errorf("a field is called %s", name)
		}
	}
	if fields["version"] != "1.1" || fields["host"] == "" || fields["short_message"] == nil || fields["_event_id"] == nil {
		return e, fmt.Errorf("version, host, short_message or _event_id is missing")
	}
	return e, nil
}

func (g *gelf) got() (texts []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.taken {
		texts = append(texts, e.text)
	}
	return texts
}

func TestGraylogReads(t *testing.T) {
	const good = `{"version":"1.1","host":"h","short_message":"s","full_message":"{}","timestamp":1.5,"_event_id":"1"}`
	if _, err := readGELF([]byte(good)); err != nil {
		t.Error(err)
	}
	for name, change := range map[string][2]string{
		"quotes that are not escaped": {`"h"`, `"h"h"`},
		"null":                        {`"h"`, `null`},
		"no short_message":            {`"short_message"`, `"_short_message"`},
		"a time that is text":         {`1.5`, `"1.5"`},
		"two messages":                {`"1"}`, `"1"}{}`},
	} {
		if _, err := readGELF([]byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestExampleGraylog(t *testing.T) {
	b := newBed(t)
	ca := newAuthority(t)
	g := newGELF(t, ca)
	host, port, _ := net.SplitHostPort(g.addr)
	b.run("graylog.conf", g, edit{old: "    tls.verify              on\n", new: "    tls.verify on\n    tls.ca_file " + ca.file + "\n"},
		edit{old: " graylog.example.com\n", new: " " + host + "\n"}, edit{old: " 12201\n", new: " " + port + "\n"})
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, err := range g.dropped {
		t.Errorf("dropped: %v", err)
	}
	b.onTime(g.taken, time.Millisecond)
}
