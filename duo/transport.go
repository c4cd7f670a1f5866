package duo

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds an answer, after decompression. A full page of 1,000 large
// records is about 4 MiB.
const maxBody = 16 << 20

// TransportConfig says how Duo is reached.
type TransportConfig struct {
	CAFile string   // PEM file of roots trusted besides the system's; empty: only those
	Proxy  *url.URL // HTTP CONNECT proxy; nil: the one that the environment names, if any
}

// Format leaves out the proxy's password, however c is printed.
func (c TransportConfig) Format(f fmt.State, _ rune) {
	proxy := ""
	if c.Proxy != nil {
		proxy = c.Proxy.Redacted()
	}
	fmt.Fprintf(f, "{%s %s}", c.CAFile, proxy)
}

// NewTransport returns what clients of all hosts share: connections kept
// alive and few, TLS 1.2 or newer, always verified against the system's roots
// and those of CAFile. Duo's own library pins roots that Duo has since left.
func NewTransport(c TransportConfig) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, VerifyConnection: strongKeys},
		TLSHandshakeTimeout:   15 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          64, // of all hosts: a service provider's children have one each
		MaxIdleConnsPerHost:   8,
		MaxConnsPerHost:       16,
		ExpectContinueTimeout: time.Second,
		// A header is never larger; the body has its own limit.
		MaxResponseHeaderBytes: 64 << 10,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return proxyRefusal(resp.StatusCode)
			}
			return nil
		},
	}
	if c.Proxy != nil {
		t.Proxy = http.ProxyURL(c.Proxy)
	}
	if c.CAFile == "" {
		return t, nil
	}
	info, err := os.Stat(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the roots: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxBody {
		return nil, fmt.Errorf("%s is not a file of at most %d MiB", c.CAFile, maxBody>>20)
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the roots: %w", err)
	}
	// Without the system's roots (a bare container) the given ones are all there is.
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CAFile)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// proxyRefusal is the HTTP status with which a proxy refused to connect.
type proxyRefusal int

func (s proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy refuses to connect (HTTP %d %s)", int(s), http.StatusText(int(s)))
}

// minKey is the least size of an RSA key, in bits. No public authority has signed
// a smaller one since 2013; crypto/x509 lets them pass.
const minKey = 2048

// weakKey is the size of an RSA key that is too small.
type weakKey int

func (bits weakKey) Error() string {
	return fmt.Sprintf("the certificate, or one that it rests on, has an RSA key of %d bits, fewer than %d", int(bits), minKey)
}

// strongKeys refuses a connection unless a chain to a root has no weak key.
func strongKeys(s tls.ConnectionState) error {
	var weak weakKey
	for _, chain := range s.VerifiedChains {
		weak = 0
		for _, c := range chain {
			if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minKey {
				weak = weakKey(key.N.BitLen())
			}
		}
		if weak == 0 {
			return nil
		}
	}
	return weak
}

// binder is the transport behind Duo's library. The library knows no context
// and sleeps through a 429 for over a minute with the old signature: so the
// context of the running call is bound here, and a 429 becomes an error before
// the library sees it.
type binder struct {
	base      http.RoundTripper
	userAgent string
	ctx       context.Context // of the running call; Client.mu guards it
	cut       *cutter         // of the running call, nil if its answer is not cut
	body      []byte          // that it brought
	last      int             // how large, in bytes, the one before was
}

func (b *binder) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(b.ctx)
	// The library appends its own version, which Duo has refused before. The
	// header is not part of the signature.
	req.Header.Set("User-Agent", b.userAgent)
	// The library signs a blank as %20 but sends it as +.
	req.URL.RawQuery = strings.ReplaceAll(req.URL.RawQuery, "+", "%20")
	if err := measure(req); err != nil {
		return nil, err
	}
	resp, err := b.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		resp.Body.Close()
		return nil, &RateLimitError{RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
	}
	if _, err := req.URL.Parse(resp.Header.Get("Location")); err != nil {
		resp.Header.Set("Location", "/") // the HTTP client would say all of it, and not that it is a redirect
	}
	b.body, err = b.read(resp)
	resp.Body.Close()
	resp.Body = http.NoBody
	if err != nil {
		resp.Body = failedBody{err}
	}
	return resp, nil
}

// read reads an answer's body into one buffer of about its size. The library's
// would grow to it step by step, which takes five times that in all.
func (b *binder) read(resp *http.Response) ([]byte, error) {
	if b.cut != nil && resp.StatusCode == http.StatusOK {
		return b.cut.read(&limitedBody{ReadCloser: resp.Body, left: maxCut})
	}
	size := int(min(resp.ContentLength, maxBody))
	if size < 0 { // compressed, or in chunks: pages are much alike
		size = b.last + b.last/8
	}
	body := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err := body.ReadFrom(&limitedBody{ReadCloser: resp.Body, left: maxBody})
	b.last = body.Len()
	return body.Bytes(), err
}

// failedBody is a body that could not be read.
type failedBody struct{ error }

func (b failedBody) Read([]byte) (int, error) { return 0, b.error }
func (failedBody) Close() error               { return nil }

// measure gives a request's body its length, which the library leaves out: it
// would be sent in chunks, and not every proxy takes those.
func measure(req *http.Request) error {
	if req.Body == nil {
		return nil
	}
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		req.Body = http.NoBody
	}
	return err
}

// retryAfter reads the header's form in seconds; Duo was never seen to send
// one, so a date is not worth the trust in two clocks.
func retryAfter(header string) time.Duration {
	const most = int(time.Hour / time.Second)
	s, err := strconv.Atoi(header)
	if err != nil || s < 0 {
		return 0
	}
	return time.Duration(min(s, most)) * time.Second
}

// limitedBody fails where io.LimitReader would end quietly: half a page must
// not look like a whole one.
type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
