package duo

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
)

// connectProxy is a proxy on the loopback interface whose CONNECT connect
// answers; it says with whose keys it was asked.
func connectProxy(t *testing.T, connect http.HandlerFunc) (address *url.URL, authorization *string) {
	t.Helper()
	authorization = new(string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*authorization = r.Header.Get("Proxy-Authorization")
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		connect(w, r)
	}))
	t.Cleanup(s.Close)
	address, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.UserPassword("proxyuser", "hunter2")
	return address, authorization
}

// proxy is one that connects, or refuses with a status.
func proxy(t *testing.T, status int) (address *url.URL, authorization *string) {
	if status == http.StatusOK {
		return connectProxy(t, duotest.Tunnel(""))
	}
	return connectProxy(t, answering(status, "<html>no</html>"))
}

func TestProxy(t *testing.T) {
	s := tlsServer(t, answering(200, testPage), nil)
	address, authorization := proxy(t, http.StatusOK)
	a, err := get(clientOf(t, s, func(_ *Credentials, c *TransportConfig) { c.Proxy = address }))
	if err != nil || string(a.Body) != testPage {
		t.Fatalf("%q, %v", a.Body, err)
	}
	if want := "Basic cHJveHl1c2VyOmh1bnRlcjI="; *authorization != want {
		t.Errorf("Proxy-Authorization %q, want %q", *authorization, want)
	}
}

// Of a proxy that does not let through the log says that it is the proxy, what it
// answered and what to do, and nothing that is secret; nothing is told to it.
func TestProxyRefuses(t *testing.T) {
	s := tlsServer(t, answering(200, testPage), nil)
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, text)
				conn.Close()
			}
		}
	}
	for name, tc := range map[string]struct {
		connect http.HandlerFunc
		want    string
	}{
		"407":            {answering(407, ""), "the proxy refuses to connect (HTTP 407 Proxy Authentication Required) (give user and password in the option proxy)"},
		"403":            {answering(403, "no"), "the proxy refuses to connect (HTTP 403 Forbidden) (check the proxy, and that it lets"},
		"502":            {answering(502, "no"), "the proxy refuses to connect (HTTP 502 Bad Gateway) (check the proxy, and that it lets"},
		"HTML":           {answering(503, "<html>no</html>"), "the proxy refuses to connect (HTTP 503 Service Unavailable) (check the proxy, and that it lets"},
		"a forged line":  {raw("HTTP/1.1 403 no\x1b[31m [error] forged\r\n\r\n"), "the proxy refuses to connect (HTTP 403 Forbidden)"},
		"no HTTP":        {raw("SSH-2.0-OpenSSH_9.2\r\n"), "malformed HTTP response"},
		"nothing":        {raw(""), "unexpected EOF"},
		"a huge header":  {raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20)), "unexpected EOF"},
		"another server": {duotest.Tunnel(tlsServer(t, answering(200, testPage), &tls.Config{Certificates: []tls.Certificate{selfSigned(t, time.Now().Add(time.Hour))}}).Listener.Addr().String()), "ca_file"},
		"plain HTTP":     {duotest.Tunnel(httptest.NewServer(answering(200, testPage)).Listener.Addr().String()), "TLS 1.2 or newer"},
		"a hang":         {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "a proxy that hangs"},
		"gone":           {nil, "(check the proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := connectProxy(t, tc.connect)
			if tc.connect == nil {
				address.Host = "127.0.0.1:1"
			}
			c := clientOf(t, s, func(_ *Credentials, c *TransportConfig) { c.Proxy = address })
			if name == "a hang" {
				c.timeout = 200 * time.Millisecond
			}
			_, err := get(c)
			if err == nil {
				t.Fatal("the proxy was passed by")
			}
			mustNotTell(t, err)
			if text := diagnose(err, source{log: logs[0]}).line(); !strings.Contains(text, tc.want) || strings.ContainsAny(text, "\r\n\x1b") {
				t.Errorf("log line %.500q, want one with %q", text, tc.want)
			}
		})
	}
}

// A proxy that inspects TLS is refused until its root is named in ca_file.
func TestProxyThatIntercepts(t *testing.T) {
	duos := tlsServer(t, answering(200, testPage), nil)
	between := tlsServer(t, answering(200, testPage), &tls.Config{Certificates: []tls.Certificate{selfSigned(t, time.Now().Add(time.Hour))}})
	address, _ := connectProxy(t, duotest.Tunnel(between.Listener.Addr().String()))
	through := func(trusted *httptest.Server) error {
		_, err := get(clientOf(t, trusted, func(c *Credentials, tc *TransportConfig) {
			c.Host, tc.Proxy = duos.Listener.Addr().String(), address
		}))
		return err
	}
	var unverified *tls.CertificateVerificationError
	if err := through(duos); !errors.As(err, &unverified) {
		t.Errorf("error %v, want that the certificate cannot be verified", err)
	}
	if err := through(between); err != nil {
		t.Error(err)
	}
}
