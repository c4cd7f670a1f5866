package duotest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"sync"
	"time"
)

// Certificates are good in the year 2000 too, since that is where the clock of testing/synctest begins.
var (
	validFrom  = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(2101, 1, 1, 0, 0, 0, 0, time.UTC)
)

// certNames are the hosts that every server's certificate is good for.
var certNames = []string{"*.duosecurity.com", "*.duofederal.com", "localhost", "127.0.0.1", "::1"}

// authority is the certificate authority of this process. Its key exists in memory only.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var processAuthority = sync.OnceValue(newAuthority)

func newAuthority() *authority {
	template := certTemplate("duotest CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	key := newKey()
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return &authority{
		cert: must(x509.ParseCertificate(der)),
		key:  key,
		pem:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
}

// certificate returns a certificate for certNames and the names given.
func (a *authority) certificate(names []string) *tls.Certificate {
	template := certTemplate("duotest")
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range slices.Concat(names, certNames) {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key := newKey()
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must(x509.ParseCertificate(der))}
}

// certify sees to it that the server's certificate is good for a name, that of a child's host, and for all those that it
// must be good for anyway. The caller holds mu.
func (s *Server) certify(name string) {
	if s.cert == nil {
		s.cert = processAuthority().certificate(s.config.Names)
	}
	if s.cert.Leaf.VerifyHostname(name) == nil {
		return
	}
	names := slices.Clone(s.config.Names)
	for _, c := range s.children {
		names = append(names, hostname(c.Host))
	}
	s.cert = processAuthority().certificate(names)
}

// SetTLS has new connections be answered with another configuration, of a server whose certificate is wrong or of a proxy
// that inspects. Nil takes that back.
func (s *Server) SetTLS(c *tls.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tls = c
}

// tlsConfig returns a configuration with the server's certificate, or that of SetTLS, as it is at each handshake.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.tls, nil
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.certify("localhost")
			return s.cert, nil
		},
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func certTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    validFrom,
		NotAfter:     validUntil,
	}
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// must is for what cannot fail with the arguments of this file.
func must[T any](value T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("duotest: make certificate: %v", err))
	}
	return value
}
