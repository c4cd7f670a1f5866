package duo

import (
	"context"
	"crypto/x509"
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

	"github.com/google/go-cmp/cmp"
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
	}{
		{"429", &RateLimitError{}},
		{"429 with Retry-After", &RateLimitError{RetryAfter: 2 * time.Minute}},
		{"429 with a short Retry-After", &RateLimitError{RetryAfter: time.Second}},
		{"400", &APIError{Status: 400, Code: 40002, Message: "Invalid request parameters", Detail: "mintime"}},
		{"401 missing key", &APIError{Status: 401, Code: 40101, Message: "Missing request credentials"}},
		{"401 unknown key", &APIError{Status: 401, Code: 40102, Message: "Invalid integration key in request credentials"}},
		{"401 signature", signature(time.Second)},
		{"401 signature, clock just right", signature(59 * time.Second)},
		{"401 signature, clock ahead", signature(time.Hour + 5*time.Second)},
		{"401 signature, clock behind", signature(-10 * time.Minute)},
		{"401 signature, no Date", &APIError{Status: 401, Code: 40103, Sent: noon}},
		{"401 of a gateway", &APIError{Status: 401, Message: "not JSON but text/html of 30 bytes"}},
		{"403", &APIError{Status: 403, Code: 40301, Message: "Access forbidden"}},
		{"404", &APIError{Status: 404, Code: 40401, Message: "Resource not found"}},
		{"410", &APIError{Status: 410}},
		{"302", &APIError{Status: 302, Location: "https://login.example.com/a?token=x"}},
		{"302 with a password", &APIError{Status: 302, Location: "https://user:hunter2@login.example.com/"}},
		{"302 to a path", &APIError{Status: 302, Location: "/login"}},
		{"500", &APIError{Status: 500, Code: 50001, Message: "Internal server error"}},
		{"503 of a gateway", &APIError{Status: 503, Message: "not JSON but text/html of 90 bytes"}},
		{"too large", ErrTooLarge},
		{"no page", fmt.Errorf("%w: it has no response.items", ErrNotPage)},
		{"paging", fmt.Errorf("%w: the next_offset %q came again", ErrPaging, "1,a")},
		{"unknown authority", fmt.Errorf("tls: failed to verify certificate: %w", x509.UnknownAuthorityError{})},
		{"host name", x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"example.com"}}, Host: "api-00000000.duosecurity.com"}},
		{"expired", x509.CertificateInvalidError{Reason: x509.Expired, Detail: "it is over"}},
		{"name resolution", &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "api-00000000.duosecurity.com", IsNotFound: true}}},
		{"refused", refused},
		{"proxy refused", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: refused}},
		{"deadline", context.DeadlineExceeded},
		{"timeout", errors.New("no answer within 30s")},
		{"cut off", io.ErrUnexpectedEOF},
	} {
		d := diagnose(tc.err)
		fmt.Fprintf(&b, "%s: kind %s, %v, wait %v\n    %s\n", tc.name, d.kind, d.level, d.wait, d.text)
		if d.kind == "" || strings.Contains(d.text, "hunter2") {
			t.Errorf("%s: line %q, kind %q", tc.name, d.text, d.kind)
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
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
	}
}
