package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

const healthHelp = `usage: duoctl health [flags] [URL]

Asks a server whether it is well: exit status 0 if it answers with -status, 1 if not. It is for the health checks of containers
that have no shell and no curl. Without a URL it asks the Fluent Bit beside it, http://127.0.0.1:2020/api/v1/health, which takes
http_server and health_check in [SERVICE]. It follows no redirect and uses no proxy.

What Fluent Bit's health says is about its outputs, not about Duo: within hc_period (60 s) more than hc_errors_count (5) errors,
or as many retries given up, are unwell.

examples:
  duoctl health
  duoctl health -ca sim/ca.pem -status 401 https://127.0.0.1:8443/admin/v2/logs/activity   a duoctl sim that is ready: it wants a signature
`

// fluentBitHealth is where Fluent Bit's HTTP server is, unless it was told otherwise.
const fluentBitHealth = "http://127.0.0.1:2020/api/v1/health"

// runHealth makes one call.
func runHealth(args []string, stdout, _ io.Writer) error {
	f := flag.NewFlagSet("health", flag.ContinueOnError)
	ca := f.String("ca", "", "`file` of the roots to trust in place of the system's")
	status := f.Int("status", http.StatusOK, "HTTP `status` that is well")
	timeout := f.Duration("timeout", 3*time.Second, "`time` that it may take")
	if err := parseFlags(f, args, stdout, healthHelp); err != nil {
		return err
	}
	target := fluentBitHealth
	switch f.NArg() {
	case 0:
	case 1:
		target = f.Arg(0)
	default:
		return usageError{fmt.Errorf("argument %q: one URL is expected", f.Arg(1))}
	}
	if u, err := url.Parse(target); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return usageError{fmt.Errorf("URL %q: want http://host:port/path, or https", target)}
	}
	if *timeout <= 0 {
		return usageError{fmt.Errorf("-timeout %q: want more than 0", *timeout)}
	}
	if *status < 100 || *status > 599 {
		return usageError{fmt.Errorf("-status %d: want 100 to 599", *status)}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if *ca != "" {
		roots, err := readRoots(*ca)
		if err != nil {
			return err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	return wantStatus(ctx, transport, target, *status)
}

// maxRoots is how much of a file of roots is read, in bytes: a system's has a quarter of that.
const maxRoots = 1 << 20

// readRoots reads a file of certificates in PEM.
func readRoots(path string) (*x509.CertPool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read -ca: %w", err)
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxRoots))
	if err != nil {
		return nil, fmt.Errorf("read -ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read -ca %s: there is no certificate in it", path)
	}
	return roots, nil
}

// wantStatus makes a call without a body, and returns an error unless the answer has the status.
func wantStatus(ctx context.Context, transport http.RoundTripper, target string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	target = req.URL.Redacted()
	resp, err := transport.RoundTrip(req) // which follows no redirect
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer within -timeout")
		}
		return fmt.Errorf("%s: %w", target, err)
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%s: HTTP %d, want %d", target, resp.StatusCode, want)
	}
	return nil
}
