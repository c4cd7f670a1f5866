//go:build cgo

package siem

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"duo_in/internal/flbtest"
)

// lines is a collector of one event a line, over TCP or TLS.
type lines struct {
	t       *testing.T
	r       *flbtest.Receiver
	stopped []string // what came before the stops
}

// newLines listens, over TLS if there is a certificate.
func newLines(t *testing.T, certificate *tls.Certificate) *lines {
	t.Helper()
	var r *flbtest.Receiver
	var err error
	if certificate != nil {
		r, err = flbtest.NewTLSReceiver(*certificate)
	} else {
		r, err = flbtest.NewReceiver("tcp")
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &lines{t: t, r: r}
	t.Cleanup(func() { c.r.Close() }) // which may be another by then
	return c
}

func (c *lines) stop() {
	c.r.Close()
	c.stopped = c.got()
}

func (c *lines) start() {
	c.t.Helper()
	r, err := c.r.Reopen()
	if err != nil {
		c.t.Fatal(err)
	}
	c.r = r
}

func (c *lines) got() []string {
	return append(c.stopped[:len(c.stopped):len(c.stopped)], c.r.Lines()...)
}

func (c *lines) port() (port int) {
	_, _ = fmt.Sscanf(c.r.Addr, "127.0.0.1:%d", &port)
	return port
}

// at are the edits that lead an example from siem.example.com, port 6514, to an
// address.
func at(t *testing.T, addr string) []edit {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return []edit{{old: " siem.example.com\n", new: " " + host + "\n"}, {old: " 6514\n", new: " " + port + "\n"}}
}

// In clear and over TLS: what came before the outage, what Duo filed during it
// and what came after it is there.
func TestExampleJSONLines(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	certificate, another := ca.certificate("127.0.0.1"), ca.certificate("collector.example.com")
	const inClear = "    tls                  on\n    tls.verify           on\n"
	for _, tt := range []struct {
		name        string
		certificate *tls.Certificate
		edits       []edit
	}{
		{"tls", &certificate, []edit{{old: "#tls.ca_file          /etc/ssl/certs/siem-ca.pem", new: "tls.ca_file " + ca.file}}},
		{"tls flat, another name", &another, []edit{
			{old: "#tls.ca_file          /etc/ssl/certs/siem-ca.pem", new: "tls.ca_file " + ca.file},
			uncomment("tls.vhost            collector.example.com"),
			uncomment("format            flat"),
		}},
		{"tcp", nil, []edit{{old: inClear}, {old: "    tls.verify_hostname  on\n"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			c := newLines(t, tt.certificate)
			b.run("json-lines.conf", c, append(at(t, c.r.Addr), tt.edits...)...)
		})
	}
}
