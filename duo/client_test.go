package duo

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	testSecret = "secretsecretsecretsecretsecretsecret0000"
	testPage   = `{"response":{"items":[{"activity_id":"a"}],"metadata":{"next_offset":null}},"stat":"OK"}`
)

// tlsServer is a server on the loopback interface that speaks TLS.
func tlsServer(t *testing.T, h http.HandlerFunc, config *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// clientOf is a client of that server which trusts its certificate. edit may
// change how it is reached.
func clientOf(t *testing.T, s *httptest.Server, edit func(*Credentials, *TransportConfig)) *Client {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	creds := Credentials{Host: s.Listener.Addr().String(), IntegrationKey: "DIXXXXXXXXXXXXXXXXXX", SecretKey: NewSecret(testSecret)}
	config := TransportConfig{CAFile: ca}
	if edit != nil {
		edit(&creds, &config)
	}
	tr, err := NewTransport(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return NewClient(creds, tr, 10*time.Second, "duo_in/1.2.3")
}

func get(c *Client) (Answer, error) {
	return c.Get(context.Background(), "/admin/v2/logs/activity", url.Values{"limit": {"3"}, "next_offset": {"1,a b"}})
}

// expired is a certificate for the loopback address that is valid no more.
func expired(t *testing.T) tls.Certificate { return selfSigned(t, time.Now().Add(-24*time.Hour)) }

// selfSigned is a certificate for the loopback address that is its own root.
func selfSigned(t *testing.T, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Whom the client does not know for sure it tells nothing, and the log line
// says what to look at.
func TestTLSIsVerified(t *testing.T) {
	for _, tc := range []struct {
		name   string
		server *tls.Config
		edit   func(*Credentials, *TransportConfig)
		want   string
	}{
		{"unknown authority", nil, func(_ *Credentials, c *TransportConfig) { c.CAFile = "" }, "ca_file"},
		{"another host's name", nil, func(c *Credentials, _ *TransportConfig) {
			c.Host = strings.Replace(c.Host, "127.0.0.1", "localhost", 1)
		}, "check api_host"},
		{"expired", &tls.Config{Certificates: []tls.Certificate{expired(t)}}, nil, "this machine's clock"},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, nil, "protocol version"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var calls atomic.Int32
			s := tlsServer(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1) }, tc.server)
			_, err := get(clientOf(t, s, tc.edit))
			if err == nil || calls.Load() > 0 {
				t.Fatalf("error %v, %d requests reached the server", err, calls.Load())
			}
			if text := diagnose(err, source{log: logs[0]}).line(); !strings.Contains(text, tc.want) || !strings.Contains(text, "Duo cannot be reached") {
				t.Errorf("log line %q, want one with %q", text, tc.want)
			}
			mustNotTell(t, err)
		})
	}
}

// mustNotTell asserts that an error and its log line hold nothing that is
// secret, nor the noise of the URL.
func mustNotTell(t *testing.T, err error) {
	t.Helper()
	text := fmt.Sprintf("%v %+v %#v %s", err, err, err, diagnose(err, source{log: logs[0]}).line())
	for _, secret := range []string{testSecret, "Authorization", "Basic ", "hunter2", "next_offset=1"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %s", secret, text)
		}
	}
}

func TestGet(t *testing.T) {
	var request *http.Request
	s := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		request = r.Clone(context.Background())
		w.Header().Set("Date", "Wed, 01 May 2024 12:00:00 GMT")
		_, _ = io.WriteString(w, testPage)
	}, nil)
	before := time.Now()
	a, err := get(clientOf(t, s, nil))
	if err != nil || string(a.Body) != testPage {
		t.Fatalf("%q, %v", a.Body, err)
	}
	if want := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC); !a.Date.Equal(want) || a.Sent.Before(before) || a.Sent.After(time.Now()) {
		t.Errorf("Date %v, Sent %v", a.Date, a.Sent)
	}
	if got := request.UserAgent(); got != "duo_in/1.2.3" {
		t.Errorf("User-Agent %q", got)
	}
	if want := "limit=3&next_offset=1%2Ca%20b"; request.URL.RawQuery != want {
		t.Errorf("query %s, want %s", request.URL.RawQuery, want)
	}
}

func TestGetRefusals(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    http.HandlerFunc
		want APIError // Date and Sent are not compared
	}{
		{"stat FAIL in a 200", answering(200, `{"stat":"FAIL","code":40103,"message":"Invalid signature"}`), APIError{Status: 401, Code: 40103, Message: "Invalid signature"}},
		{"code as text", answering(403, `{"stat":"FAIL","code":"40301","message":"Access forbidden","message_detail":"no"}`), APIError{Status: 403, Code: 40301, Message: "Access forbidden", Detail: "no"}},
		{"code empty", answering(500, `{"stat":"FAIL","code":"","message":null}`), APIError{Status: 500}},
		{"stat FAIL without a code", answering(200, `{"stat":"FAIL"}`), APIError{Status: 502}},
		{"fields of odd types", answering(400, `{"stat":"FAIL","code":[1],"message":{"a":1},"message_detail":7}`), APIError{Status: 400, Message: `{"a":1}`, Detail: "7"}},
		{"HTML", answering(502, "<html>\n</html>"), APIError{Status: 502, Message: "not JSON but text/html of 14 bytes"}},
		{"HTML in a 200", answering(200, "<html></html>"), APIError{Status: 502, Message: "not JSON but text/html of 13 bytes"}},
		{"nothing", answering(200, ""), APIError{Status: 502, Message: "not JSON but untyped of 0 bytes"}},
		{"a page with another status", answering(500, testPage), APIError{Status: 500}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := get(clientOf(t, tlsServer(t, tc.h, nil), nil))
			var got *APIError
			if !errors.As(err, &got) {
				t.Fatalf("error %v, want an APIError", err)
			}
			if got.Date.IsZero() || got.Sent.IsZero() {
				t.Errorf("Date %v, Sent %v", got.Date, got.Sent)
			}
			e := *got
			e.Date, e.Sent = time.Time{}, time.Time{}
			if e != tc.want {
				t.Errorf("got  %+v\nwant %+v", e, tc.want)
			}
		})
	}
}

// A page may hold the word of a refusal.
func TestPageWithTheWordFAIL(t *testing.T) {
	page := strings.Replace(testPage, `"activity_id"`, `"result":"FAIL","stat":"FAIL","activity_id"`, 1)
	a, err := get(clientOf(t, tlsServer(t, answering(200, page), nil), nil))
	if err != nil || string(a.Body) != page {
		t.Errorf("%s, %v", a.Body, err)
	}
}

// The signature leaves the host in no way, and goes nowhere else on it.
func TestRedirectIsNotFollowed(t *testing.T) {
	var followed atomic.Int32
	other := tlsServer(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) }, nil)
	through, _ := proxy(t, http.StatusOK)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for target, named := range map[string]string{other.URL + "/login?key=1": other.Listener.Addr().String(), "/login": "another path"} {
			for _, via := range []*url.URL{nil, through} {
				s := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/login" {
						followed.Add(1)
					}
					http.Redirect(w, r, target, status)
				}, nil)
				_, err := get(clientOf(t, s, func(_ *Credentials, c *TransportConfig) { c.Proxy = via }))
				var api *APIError
				if !errors.As(err, &api) || api.Status != status {
					t.Fatalf("error %v, want HTTP %d", err, status)
				}
				want := fmt.Sprintf("the answer is a redirect to %s (HTTP %d), which is not followed: check api_host and proxy; trying again every 5 minutes", named, status)
				if text := diagnose(err, source{log: logs[0]}).line(); text != want {
					t.Errorf("log line %q, want %q", text, want)
				}
			}
		}
	}
	if n := followed.Load(); n > 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// gzipped is the body compressed.
func gzipped(body []byte) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	_, _ = z.Write(body)
	_ = z.Close()
	return b.Bytes()
}

func TestGzip(t *testing.T) {
	asked := ""
	s := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(gzipped([]byte(testPage)))
	}, nil)
	if a, err := get(clientOf(t, s, nil)); err != nil || string(a.Body) != testPage || asked != "gzip" {
		t.Errorf("%q, %v, Accept-Encoding %q", a.Body, err, asked)
	}
}

// An answer is bounded, compressed ones by what they become; one that is cut
// off is an error.
func TestBodyLimit(t *testing.T) {
	const limit = 16 << 20
	for _, tc := range []struct {
		name string
		size int
		gzip bool
		want error
	}{{"at the limit", limit, false, nil}, {"beyond it", limit + 1, false, ErrTooLarge}, {"beyond it, compressed", limit + 1, true, ErrTooLarge}} {
		t.Run(tc.name, func(t *testing.T) {
			body := append([]byte(testPage), bytes.Repeat([]byte(" "), tc.size-len(testPage))...)
			s := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) {
				if tc.gzip {
					w.Header().Set("Content-Encoding", "gzip")
					body = gzipped(body)
				}
				_, _ = w.Write(body)
			}, nil)
			a, err := get(clientOf(t, s, nil))
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if err == nil && len(a.Body) != tc.size {
				t.Errorf("%d bytes, want %d", len(a.Body), tc.size)
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		s := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(testPage)))
			_, _ = io.WriteString(w, testPage[:20])
		}, nil)
		if a, err := get(clientOf(t, s, nil)); !errors.Is(err, io.ErrUnexpectedEOF) || a.Body != nil {
			t.Errorf("%q, %v", a.Body, err)
		}
	})
}

// A 429 comes back at once: Duo's library would sleep through it with the old
// signature.
func TestRateLimitComesBackAtOnce(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "0": 0, "-1": 0, "soon": 0, "Wed, 21 Oct 2026 07:28:00 GMT": 0, "99999999": time.Hour, "9223372037": time.Hour, "18446744074": time.Hour, "99999999999999999999": 0,
	} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				c := fakeClient(func(r *http.Request) (*http.Response, error) {
					calls++
					resp := response(r, 429, `{"stat":"FAIL","code":42901,"message":"Too Many Requests"}`)
					resp.Header.Set("Retry-After", header)
					return resp, nil
				})
				before := time.Now()
				_, err := get(c)
				var limit *RateLimitError
				if !errors.As(err, &limit) || limit.RetryAfter != want {
					t.Errorf("error %#v, want one with RetryAfter %v", err, want)
				}
				if took := time.Since(before); calls != 1 || took != 0 {
					t.Errorf("%d calls took %v", calls, took)
				}
			})
		})
	}
	t.Run("in a 200", func(t *testing.T) {
		_, err := get(clientOf(t, tlsServer(t, answering(200, `{"stat":"FAIL","code":42901}`), nil), nil))
		var limit *RateLimitError
		if !errors.As(err, &limit) {
			t.Errorf("error %v, want a RateLimitError", err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func fakeClient(f roundTripper) *Client {
	return NewClient(Credentials{Host: "api-00000000.duosecurity.com", IntegrationKey: "DIXXXXXXXXXXXXXXXXXX", SecretKey: NewSecret(testSecret)}, f, 30*time.Second, "duo_in/1.2.3")
}

func response(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

// Each attempt has a Date and a signature of its own.
func TestEachCallIsSignedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dates, signatures []string
		c := fakeClient(func(r *http.Request) (*http.Response, error) {
			dates = append(dates, r.Header.Get("Date"))
			signatures = append(signatures, r.Header.Get("Authorization"))
			return response(r, 500, `{"stat":"FAIL","code":50001}`), nil
		})
		for range 3 {
			if _, err := get(c); err == nil {
				t.Fatal("no error")
			}
			date, err := time.Parse(time.RFC1123Z, dates[len(dates)-1])
			if err != nil || !date.Equal(time.Now()) {
				t.Errorf("Date %v at %v (%v)", date, time.Now(), err)
			}
			time.Sleep(time.Second)
		}
		if len(signatures) != 3 || signatures[0] == signatures[1] || signatures[1] == signatures[2] {
			t.Errorf("signatures %q", signatures)
		}
	})
}

// A call that hangs ends with its context, or with the timeout.
func TestHangingCallEnds(t *testing.T) {
	hang := func(where string) roundTripper {
		return func(r *http.Request) (*http.Response, error) {
			if where == "header" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			resp := response(r, 200, "")
			resp.Body = hangingBody{r.Context()}
			return resp, nil
		}
	}
	for _, where := range []string{"header", "body"} {
		t.Run("cancelled in the "+where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				time.AfterFunc(time.Second, cancel)
				before := time.Now()
				_, err := fakeClient(hang(where)).Get(ctx, "/", nil)
				if took := time.Since(before); !errors.Is(err, context.Canceled) || took != time.Second {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
		t.Run("timeout in the "+where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := time.Now()
				_, err := get(fakeClient(hang(where)))
				if took := time.Since(before); err == nil || err.Error() != "no answer within 30s" || took != 30*time.Second {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
	t.Run("on the wire", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		s := tlsServer(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }, nil)
		if _, err := clientOf(t, s, nil).Get(ctx, "/", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the context", err)
		}
	})
}

type hangingBody struct{ ctx context.Context }

func (b hangingBody) Read([]byte) (int, error) { <-b.ctx.Done(); return 0, b.ctx.Err() }
func (b hangingBody) Close() error             { return nil }

func TestNewTransportRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.pem")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{text: "holds no certificate in PEM form", filepath.Join(dir, "none.pem"): "no such file"} {
		if _, err := NewTransport(TransportConfig{CAFile: file}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v, want one with %q", file, err, want)
		}
	}
}
