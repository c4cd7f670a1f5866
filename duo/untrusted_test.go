package duo_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate for the host, good for ten years around now and
// signed by parent, nil for itself, unless edit says otherwise.
func issue(t *testing.T, parent *issued, key crypto.Signer, edit func(*x509.Certificate)) *issued {
	t.Helper()
	year := 365 * 24 * time.Hour
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test certificate"}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-5 * year), NotAfter: time.Now().Add(5 * year),
	}
	if edit != nil {
		edit(c)
	}
	if parent == nil {
		parent = &issued{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent.Certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &issued{c, key}
}

func ecKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func authority(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.Subject.CommonName = true, true, "test root"
}

// presents is the configuration of a server that shows these certificates.
func presents(cs ...*issued) *tls.Config {
	shown := tls.Certificate{PrivateKey: cs[0].key}
	for _, c := range cs {
		shown.Certificate = append(shown.Certificate, c.Raw)
	}
	return &tls.Config{Certificates: []tls.Certificate{shown}}
}

// trusting has a client trust one more root, and read ahead.
func trusting(root *issued) func(http.RoundTripper) http.RoundTripper {
	return func(rt http.RoundTripper) http.RoundTripper {
		tr := rt.(*http.Transport)
		tr.TLSClientConfig.RootCAs.AddCert(root.Certificate)
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return readAhead(c), nil
		}
		return tr
	}
}

// ahead is a connection that reads before it is asked to, as a socket does: over
// a bare pipe a client that refuses a certificate and a server that is not done
// with its greeting would wait for each other.
type ahead struct {
	net.Conn
	buffered *io.PipeReader
}

func readAhead(c net.Conn) net.Conn {
	r, w := io.Pipe()
	parts := make(chan []byte, 1000)
	go func() {
		defer close(parts)
		for {
			part := make([]byte, 32<<10)
			n, err := c.Read(part)
			parts <- part[:n]
			if err != nil {
				return
			}
		}
	}()
	go func() {
		for part := range parts {
			_, _ = w.Write(part) // fails when the reader has gone
		}
		w.Close()
	}()
	return ahead{c, r}
}

func (c ahead) Read(b []byte) (int, error) { return c.buffered.Read(b) }

func (c ahead) Close() error {
	c.buffered.Close()
	return c.Conn.Close()
}

// Whoever cannot prove to be Duo is told nothing: one line says what is wrong and
// what to do, one that it is over, and nothing is missing.
func TestUntrustedServers(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(t *testing.T, root *issued) *tls.Config
		says  []string
	}{
		"wrong name": {func(t *testing.T, root *issued) *tls.Config {
			return presents(issue(t, root, ecKey(t), func(c *x509.Certificate) { c.DNSNames = []string{"login.example.com"} }))
		}, []string{"valid for login.example.com, not " + host, "check api_host"}},
		"expired": {func(t *testing.T, root *issued) *tls.Config {
			return presents(issue(t, root, ecKey(t), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }))
		}, []string{"expired", "this machine's clock"}},
		"not yet valid": {func(t *testing.T, root *issued) *tls.Config {
			return presents(issue(t, root, ecKey(t), func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) }))
		}, []string{"not yet valid", "this machine's clock"}},
		"self-signed": {func(t *testing.T, _ *issued) *tls.Config { return presents(issue(t, nil, ecKey(t), nil)) },
			[]string{"unknown authority", `issued by "CN=test certificate"`, "ca_file"}},
		"unknown root": {func(t *testing.T, _ *issued) *tls.Config {
			other := issue(t, nil, ecKey(t), authority)
			return presents(issue(t, other, ecKey(t), nil), other)
		}, []string{"unknown authority", `issued by "CN=test root"`, "ca_file"}},
		"a leaf as authority": {func(t *testing.T, root *issued) *tls.Config {
			leaf := issue(t, root, ecKey(t), func(c *x509.Certificate) { c.Subject.CommonName = "leaf" })
			return presents(issue(t, leaf, ecKey(t), nil), leaf)
		}, []string{"certificate"}},
		"RSA of 1024 bits": {func(t *testing.T, root *issued) *tls.Config { return presents(issue(t, root, rsaKey(t, 1024), nil)) },
			[]string{"RSA key of 1024 bits", "issued anew"}},
		"RSA of 1024 bits below": {func(t *testing.T, root *issued) *tls.Config {
			weak := issue(t, root, rsaKey(t, 1024), authority)
			return presents(issue(t, weak, ecKey(t), nil), weak)
		}, []string{"RSA key of 1024 bits", "issued anew"}},
		"SHA-1": {func(t *testing.T, root *issued) *tls.Config {
			return presents(issue(t, root, ecKey(t), func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }))
		}, []string{"SHA1", "issued anew"}},
		"TLS 1.1": {func(t *testing.T, root *issued) *tls.Config {
			c := presents(issue(t, root, ecKey(t), nil))
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			return c
		}, []string{"tls: ", "TLS 1.2 or newer"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := issue(t, nil, ecKey(t), authority)
				a := newAccount(t, duotest.Config{})
				a.wrap = trusting(root)
				backlog(a.server, "activity", 300)
				a.server.SetTLS(tc.serve(t, root))
				r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
				time.Sleep(10 * time.Minute)
				if n := len(a.server.Calls()); n > 0 {
					t.Errorf("%d calls reached a server that is not trusted", n)
				}
				a.server.SetTLS(nil)
				time.Sleep(10 * time.Minute)
				sameOnce(t, a.server.IDs("activity"), r.got())
				lines := r.logs.all()
				if len(lines) != 2 || !strings.Contains(lines[1], "answers again") {
					t.Fatalf("want a line that trouble begins and one that it is over, got %q", lines)
				}
				for _, words := range append(tc.says, "Duo cannot be reached") {
					if !strings.Contains(lines[0], words) {
						t.Errorf("no %q in %q", words, lines[0])
					}
				}
			})
		})
	}
}

// A certificate of today's strength is taken: 2048 bits of RSA.
func TestStrongServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := issue(t, nil, rsaKey(t, 2048), authority)
		a := newAccount(t, duotest.Config{})
		a.wrap = trusting(root)
		backlog(a.server, "activity", 3)
		a.server.SetTLS(presents(issue(t, root, rsaKey(t, 2048), nil)))
		r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
		time.Sleep(10 * time.Minute)
		sameOnce(t, a.server.IDs("activity"), r.got())
	})
}
