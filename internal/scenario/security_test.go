//go:build cgo

package scenario

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
)

// Behind a proxy of the environment's, with a password, that first inspects TLS,
// and before a Duo that answers with all that fills memory or forges log lines:
// nothing is missing, memory stays bounded, and the log says what is in the way
// and nothing that is secret.
func TestHostileWorld(t *testing.T) {
	t.Parallel()
	inBoth(t, quickDuo, func(b *bed) {
		b.backlog(200, duotest.Activity)
		b.server.SetTLS(inspecting(b.t))
		for _, f := range []duotest.Fault{
			{Kind: duotest.FaultHuge, Size: 1 << 30},
			{Kind: duotest.FaultStatus, Status: 200, Body: gzipBomb(), Header: http.Header{"Content-Encoding": {"gzip"}}},
			{Kind: duotest.FaultStatus, Status: 200, Body: `{"response":{"items":[0` + strings.Repeat(",0", 7<<20) + `]}}`},
			{Kind: duotest.FaultStatus, Status: 500, Body: `{"stat":"FAIL","code":50001,"message":"no\n[2026/01/01 00:00:00] [error] forged\u001b[31m"}`},
			{Kind: duotest.FaultRewrite, Rewrite: func(page []byte) []byte {
				deep := `{"activity_id":"deep","ts":"2026-01-01T00:00:00Z","a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `},`
				return bytes.Replace(page, []byte(`"items": [`), []byte(`"items": [`+deep), 1)
			}},
		} {
			b.server.Fault(f)
		}
		folder := filepath.Join(b.dir, "checkpoints")
		if err := os.Mkdir(folder, 0o700); err != nil {
			b.t.Fatal(err)
		}
		if err := os.Chmod(folder, 0o777); err != nil { // whatever the umask is
			b.t.Fatal(err)
		}
		b.spec.Env = []string{"HTTPS_PROXY=" + passwordProxy(b.t, b.duo.Addr)}
		p := b.start(b.input("duo", append(quick, opt("api_host", "api-00000000.duosecurity.com"), opt("logs", "activity"))...))
		b.waitFor("line about the certificate", time.Minute, func() bool { return strings.Contains(p.Log(), `issued by "CN=proxy root"`) })
		b.server.SetTLS(nil)
		d := b.delivery("duo")
		d.awaitAll(time.Minute, duotest.Activity)
		b.waitFor("end of the faults", time.Minute, func() bool { return b.server.Faults() == 0 })
		peak := peakMemory(b.t, p.Pid())
		b.t.Logf("at most %d MiB resident", peak>>20)
		if peak > 250<<20 {
			b.t.Errorf("%d MiB were resident", peak>>20)
		}
		b.stop(p)
		if d.update(); d.ids["deep"] != 1 || d.twice() != 0 {
			b.t.Errorf("the record that is too deep came %d times, %d came twice", d.ids["deep"], d.twice())
		}
		if strings.Contains(p.Log(), "hunter2") || strings.Contains(p.Log(), "\x1b[31m") || regexp.MustCompile(`(?m)^\[2026/01/01`).MatchString(p.Log()) {
			b.t.Errorf("the log shows a password or a forged line:\n%s", p.Log())
		}
		for words, most := range map[string]int{"can be written to by every user (mode 0777)": 1, "name its root certificate in ca_file": 1, "the answer is larger than 16 MiB": 1, "forged": 1} {
			if n := strings.Count(p.Log(), words); n < 1 || n > most {
				b.t.Errorf("%q is said %d times:\n%s", words, n, p.Log())
			}
		}
	})
}

// passwordProxy is a CONNECT proxy that wants a password and leads to one address
// whatever it is asked for.
func passwordProxy(t *testing.T, to string) string {
	tunnel := duotest.Tunnel(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if name, password, ok := user.BasicAuth(); r.Method != http.MethodConnect || !ok || name != "proxyuser" || password != "hunter2" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		tunnel(w, r)
	}))
	t.Cleanup(s.Close)
	return "http://proxyuser:hunter2@" + s.Listener.Addr().String()
}

// inspecting is what a proxy that inspects TLS shows for Duo: a certificate of a
// root that nobody knows.
func inspecting(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "proxy root"}, DNSNames: []string{"api-00000000.duosecurity.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// gzipBomb is 256 MiB of nothing, compressed.
func gzipBomb() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	part := make([]byte, 1<<20)
	for range 256 {
		_, _ = z.Write(part) // a Buffer never fails
	}
	_ = z.Close()
	return b.String()
}

// peakMemory is the most that a process ever held resident, in bytes.
func peakMemory(t *testing.T, pid int) (peak int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &peak)
	}
	return peak << 10
}
