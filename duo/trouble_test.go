package duo

import (
	"cmp"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What each error becomes in the log stands in testdata/trouble.golden, to be
// read as an operator reads it: kind, level, least wait, line.
func TestDiagnoseGolden(t *testing.T) {
	noon := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	signature := func(ahead time.Duration) *APIError {
		return &APIError{Status: 401, Code: 40103, Message: "Invalid signature in request credentials", Date: noon, Sent: noon.Add(ahead)}
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, Err: errors.New("connect: connection refused")}
	var b strings.Builder
	for _, tc := range []struct {
		name string
		err  error
		log  string // authentication if empty
		of   string // child account
	}{
		{name: "429", err: &RateLimitError{}},
		{name: "429 with Retry-After", err: &RateLimitError{RetryAfter: 2 * time.Minute}},
		{name: "429 with a short Retry-After", err: &RateLimitError{RetryAfter: time.Second}},
		{name: "400", err: &APIError{Status: 400, Code: 40002, Message: "Invalid request parameters", Detail: "mintime"}},
		{name: "401 missing key", err: &APIError{Status: 401, Code: 40101, Message: "Missing request credentials"}},
		{name: "401 unknown key", err: &APIError{Status: 401, Code: 40102, Message: "Invalid integration key in request credentials"}},
		{name: "401 signature", err: signature(time.Second)},
		{name: "401 signature, clock just right", err: signature(59 * time.Second)},
		{name: "401 signature, clock ahead", err: signature(time.Hour + 5*time.Second)},
		{name: "401 signature, clock behind", err: signature(-10 * time.Minute)},
		{name: "401 signature, no Date", err: &APIError{Status: 401, Code: 40103, Sent: noon}},
		{name: "401 of a gateway", err: &APIError{Status: 401, Message: "not JSON but text/html of 30 bytes"}},
		{name: "403", err: &APIError{Status: 403, Code: 40301, Message: "Access forbidden"}},
		{name: "404", err: &APIError{Status: 404, Code: 40401, Message: "Resource not found"}},
		{name: "410", err: &APIError{Status: 410}},
		{name: "302", err: &APIError{Status: 302, Location: "https://login.example.com/a?token=x"}},
		{name: "302 with a password", err: &APIError{Status: 302, Location: "https://user:hunter2@login.example.com/"}},
		{name: "302 to a path", err: &APIError{Status: 302, Location: "/login"}},
		{name: "500", err: &APIError{Status: 500, Code: 50001, Message: "Internal server error"}},
		{name: "503 of a gateway", err: &APIError{Status: 503, Message: "not JSON but text/html of 90 bytes"}},
		{name: "too large", err: ErrTooLarge},
		{name: "no page", err: fmt.Errorf("%w: it has no response.items", ErrNotPage)},
		{name: "paging", err: fmt.Errorf("%w: the next_offset %q came again", ErrPaging, "1,a")},
		{name: "unknown authority", err: fmt.Errorf("tls: failed to verify certificate: %w", x509.UnknownAuthorityError{})},
		{name: "host name", err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"example.com"}}, Host: "api-00000000.duosecurity.com"}},
		{name: "expired", err: x509.CertificateInvalidError{Reason: x509.Expired, Detail: "it is over"}},
		{name: "name resolution", err: &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "api-00000000.duosecurity.com", IsNotFound: true}}},
		{name: "refused", err: refused},
		{name: "proxy 407", err: proxyRefusal(407)},
		{name: "proxy 403", err: proxyRefusal(403)},
		{name: "weak key", err: weakKey(1024)},
		{name: "unknown issuer", err: x509.UnknownAuthorityError{Cert: &x509.Certificate{Issuer: pkix.Name{CommonName: "proxy root"}}}},
		{name: "TLS 1.1", err: errors.New("remote error: tls: protocol version not supported")},
		{name: "proxy refused", err: &net.OpError{Op: "proxyconnect", Net: "tcp", Err: refused}},
		{name: "deadline", err: context.DeadlineExceeded},
		{name: "timeout", err: fmt.Errorf("%w within 30s", errNoAnswer)},
		{name: "cut off", err: io.ErrUnexpectedEOF},
		{name: "403 of a retired log", err: &APIError{Status: 403, Code: 40301, Message: "Access forbidden"}, log: "administrator"},
		{name: "403 of a child account", err: &APIError{Status: 403, Code: 40301, Message: "Access forbidden"}, of: "DA00000000000000EX01"},
		{name: "404 of a retired log", err: &APIError{Status: 404, Code: 40401, Message: "Resource not found"}, log: "telephony_v1"},
		{name: "404 of an optional log", err: &APIError{Status: 404, Code: 40401, Message: "Resource not found"}, log: "trust_monitor"},
		{name: "401 of a retired log", err: &APIError{Status: 401, Code: 40101, Message: "Missing request credentials"}, log: "administrator"},
	} {
		l, err := LookupLog(cmp.Or(tc.log, "authentication"))
		if err != nil {
			t.Fatal(err)
		}
		d := diagnose(tc.err, source{l, tc.of})
		fmt.Fprintf(&b, "%s: kind %s, %v, wait %v\n    %s\n", tc.name, d.kind, d.level, d.wait, d.line())
		if d.kind == "" || strings.Contains(d.line(), "hunter2") {
			t.Errorf("%s: line %q, kind %q", tc.name, d.line(), d.kind)
		}
	}
	golden := filepath.Join("testdata", "trouble.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
	}
}
