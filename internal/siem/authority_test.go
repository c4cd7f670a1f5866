//go:build cgo

package siem

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// authority is a certificate authority of the test's own, as a company has one
// for its receivers.
type authority struct {
	t    *testing.T
	file string // its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := a.template("test CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert, a.key = template, a.newKey()
	a.cert = a.sign(template, a.key)
	a.file = filepath.Join(t.TempDir(), "ca.pem")
	a.write(a.file, "CERTIFICATE", a.cert.Raw)
	return a
}

// certificate is one for a receiver of that name, or IP address.
func (a *authority) certificate(name string) tls.Certificate {
	a.t.Helper()
	template := a.template(name)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	key := a.newKey()
	cert := a.sign(template, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// files writes what a receiver that is a program needs: ca.pem, cert.pem and
// key.pem.
func (a *authority) files(dir string, c tls.Certificate) {
	a.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	a.check(err)
	a.write(filepath.Join(dir, "ca.pem"), "CERTIFICATE", a.cert.Raw)
	a.write(filepath.Join(dir, "cert.pem"), "CERTIFICATE", c.Certificate[0])
	a.write(filepath.Join(dir, "key.pem"), "PRIVATE KEY", der)
}

func (a *authority) template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	a.check(err)
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// sign issues a certificate for a key.
func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	a.check(err)
	cert, err := x509.ParseCertificate(der)
	a.check(err)
	return cert
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.check(err)
	return key
}

func (a *authority) write(path, kind string, der []byte) {
	a.t.Helper()
	a.check(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (a *authority) check(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// TestCertificateOfItsOwn runs the command that the README has for trying TLS, and
// has a receiver with what it makes be verified by itself.
func TestCertificateOfItsOwn(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED, the command of the README is NOT tested: put openssl on PATH (Debian: apt-get install openssl)")
	}
	cmd := exec.Command("sh", "-c", regexp.MustCompile("(?m)^openssl .*$").FindString(read(t, "README.md")))
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(cmd.Dir, "cert.pem")
	pair, err := tls.LoadX509KeyPair(file, filepath.Join(cmd.Dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if roots.AppendCertsFromPEM(text); pair.Leaf == nil {
		t.Fatal("no certificate")
	}
	for name, good := range map[string]bool{"siem.example.com": true, "other.example.com": false} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
