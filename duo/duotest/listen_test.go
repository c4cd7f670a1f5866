package duotest

import (
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestPipe polls for two virtual hours in a bubble while events come in, and asserts that all of them arrive, on time.
func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Latency: 300 * time.Millisecond})
		pipe := s.Pipe()
		defer pipe.Close()
		c := client(pipe.Serving, func(tr *http.Transport) { tr.DialContext = pipe.DialContext })
		defer c.CloseIdleConnections()
		begin := time.Now()
		if begin.Year() != 2000 {
			t.Fatalf("the bubble's clock begins in %d", begin.Year())
		}
		s.Add(Telephony, NewRecords(Telephony, 1, begin, begin.Add(2*time.Hour), 5000)...)

		seen := map[string]bool{}
		for range 5 {
			now := time.Now()
			cursor := ""
			for more := true; more; {
				params := values(append(between(begin.Add(-time.Minute), now), "limit=1000", "sort=ts:asc")...)
				if cursor != "" {
					params.Set("next_offset", cursor)
				}
				r := fetch(c, signed(time.Now(), sha512.New, "https://"+testHost+pathOf(Telephony), params))
				if r.err != nil || r.status != http.StatusOK {
					t.Fatalf("status %d, %v: %s", r.status, r.err, r.body)
				}
				page := decode(t, r.body)
				for _, id := range page.ids {
					seen[id] = true
				}
				cursor = page.cursor
				more = cursor != ""
			}
			time.Sleep(31 * time.Minute)
		}
		if len(seen) != 5000 {
			t.Errorf("%d records arrived, want 5000", len(seen))
		}
	})
}

// TestPipeRefuses dials a listener that nobody can reach any more.
func TestPipeRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := New(Config{}).Pipe()
		pipe.Close()
		pipe.Close()
		if _, err := pipe.DialContext(t.Context(), "tcp", testHost+":443"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v, want net.ErrClosed", err)
		}
	})
}

// TestPipeWithAbandonedClients closes the server under clients that neither read nor close: no wait, no lost goroutine.
func TestPipeWithAbandonedClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		s.Add(Activity, NewRecords(Activity, 1, time.Now().Add(-time.Hour), time.Now().Add(-3*time.Minute), 1000)...)
		pipe := s.Pipe()
		c := client(pipe.Serving, func(tr *http.Transport) { tr.DialContext = pipe.DialContext })
		begin := time.Now()
		params := values(append(between(begin.Add(-time.Hour), begin), "limit=1000")...)
		for range 3 {
			response, err := c.Do(signed(begin, sha512.New, "https://"+testHost+pathOf(Activity), params))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
		}
		idle, err := pipe.DialContext(t.Context(), "tcp", testHost)
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
		pipe.Close()
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("Close waited %v", waited)
		}
	})
}

func TestStartTLS(t *testing.T) {
	s := New(Config{Names: []string{"sim", "10.1.2.3"}})
	running := s.StartTLS()
	path, err := running.CAFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", path)
	}
	for _, name := range []string{"", "localhost", testHost, "api-test.duofederal.com", "sim", "10.1.2.3"} {
		c := client(running.Serving, func(tr *http.Transport) {
			tr.TLSClientConfig.RootCAs, tr.TLSClientConfig.ServerName = roots, name
		})
		now := time.Now()
		r := fetch(c, signed(now, sha512.New, "https://"+running.Addr+pathOf(Activity), values(between(now.Add(-time.Hour), now)...)))
		if r.err != nil || r.status != http.StatusOK {
			t.Errorf("as %q: status %d, %v", name, r.status, r.err)
		}
		c.CloseIdleConnections()
	}
	running.Close()
	running.Close()
	if accepts(running.Serving, running.Addr) {
		t.Error("a closed server accepts connections")
	}
}

// accepts reports whether a server of this process, as v is, takes connections at an address. Another process may have
// been given the port since: that shows itself by another certificate, or none.
func accepts(v *Serving, address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	err = tls.Client(conn, &tls.Config{RootCAs: v.Pool(), ServerName: "localhost"}).Handshake()
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded) // one that nobody serves, but still ours, says nothing
}

func TestListenSaysWhere(t *testing.T) {
	running := New(Config{}).StartTLS()
	defer running.Close()
	if _, err := New(Config{}).Listen(running.Addr); err == nil || !errors.As(err, new(*net.OpError)) {
		t.Errorf("error %v, want one of the network", err)
	}
}
