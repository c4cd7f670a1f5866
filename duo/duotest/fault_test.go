package duotest

import (
	"bytes"
	"context"
	"crypto/sha512"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// client returns a client for a server that listens. It follows no redirects and decompresses nothing by itself.
func client(v *Serving, dial func(*http.Transport)) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: v.Pool()}, DisableCompression: true}
	if dial != nil {
		dial(transport)
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reply is what a client got, or where it failed.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func fetch(c *http.Client, r *http.Request) reply {
	response, err := c.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, body, err}
}

// TestFaults meets each kind of fault over a real socket, and a sound page after it.
func TestFaults(t *testing.T) {
	at := epoch.Add(-time.Hour)
	cursor := fmt.Sprintf("%d,a", at.UnixMilli())
	status := func(want int, body string) func(*testing.T, reply) {
		return func(t *testing.T, r reply) {
			if r.err != nil || r.status != want || !strings.Contains(string(r.body), body) {
				t.Errorf("got %d %q, %v; want %d with %q", r.status, r.body, r.err, want, body)
			}
		}
	}
	header := func(want int, name, value string) func(*testing.T, reply) {
		return func(t *testing.T, r reply) {
			if status(want, "")(t, r); r.header.Get(name) != value {
				t.Errorf("%s = %q, want %q", name, r.header.Get(name), value)
			}
		}
	}
	tests := []struct {
		name  string
		fault Fault
		check func(*testing.T, reply)
	}{
		{"server error", Fault{Kind: FaultStatus}, status(500, `"code": 50001`)},
		{"forbidden", Fault{Kind: FaultStatus, Status: 403}, status(403, `"code": 40301`)},
		{"unavailable", Fault{Kind: FaultStatus, Status: 503}, status(503, `"code": 50301`)},
		{"a body of one's own", Fault{Kind: FaultStatus, Status: 400, Body: `{"code": ""}`}, status(400, `{"code": ""}`)},
		{"fail with 200", Fault{Kind: FaultFail}, status(200, `"stat": "FAIL"`)},
		{"html", Fault{Kind: FaultHTML}, status(502, "<h1>502 Bad Gateway</h1>")},
		{"html with 200", Fault{Kind: FaultHTML, Status: 200}, header(200, "Content-Type", "text/html; charset=utf-8")},
		{"redirect", Fault{Kind: FaultRedirect}, header(302, "Location", "https://login.example.com/")},
		{"rate limit", Fault{Kind: FaultRateLimit}, header(429, "Retry-After", "120")},
		{"rate limit with a header of one's own", Fault{Kind: FaultRateLimit, Header: http.Header{"Retry-After": {"7"}}}, header(429, "Retry-After", "7")},
		{"reset", Fault{Kind: FaultReset}, func(t *testing.T, r reply) {
			if !errors.Is(r.err, syscall.ECONNRESET) {
				t.Errorf("error %v, want connection reset", r.err)
			}
		}},
		{"truncate", Fault{Kind: FaultTruncate}, func(t *testing.T, r reply) {
			if r.status != 200 || !errors.Is(r.err, io.ErrUnexpectedEOF) {
				t.Errorf("got %d, %v; want 200 and an unexpected EOF", r.status, r.err)
			}
		}},
		{"broken", Fault{Kind: FaultBroken}, func(t *testing.T, r reply) {
			if status(200, `{"response": {"items"`)(t, r); json.Valid(r.body) {
				t.Errorf("body %q is whole", r.body)
			}
		}},
		{"slow", Fault{Kind: FaultSlow, Delay: time.Millisecond}, status(200, `"stat": "OK"}`)},
		{"gzip", Fault{Kind: FaultGzip}, func(t *testing.T, r reply) {
			if header(200, "Content-Encoding", "gzip")(t, r); !bytes.HasPrefix(r.body, []byte{0x1f, 0x8b}) {
				t.Errorf("body %q is not compressed", r.body)
			}
		}},
		{"rewrite", Fault{Kind: FaultRewrite, Rewrite: bytes.ToUpper}, status(200, `"STAT": "OK"}`)},
		{"huge", Fault{Kind: FaultHuge, Size: 300_000}, func(t *testing.T, r reply) {
			if r.err != nil || len(r.body) != 300_000 || !json.Valid(r.body) {
				t.Errorf("%d bytes, valid %t, %v; want 300000 of JSON", len(r.body), json.Valid(r.body), r.err)
			}
		}},
		{"same offset", Fault{Kind: FaultSameOffset}, status(200, fmt.Sprintf(`[{"activity_id": "b", "ts": %q}], "metadata": {"next_offset": "%s"`, stamp(at), cursor))},
		{"rewind", Fault{Kind: FaultRewind}, status(200, `[{"activity_id": "a"`)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(frozen(Config{}))
			s.Add(Activity, event("a", at), event("b", at))
			running := s.StartTLS()
			defer running.Close()
			c := client(running.Serving, nil)
			defer c.CloseIdleConnections()
			params := values(append(between(at, epoch), "next_offset="+cursor, "sort=ts:asc")...)
			request := func() reply {
				return fetch(c, signed(epoch, sha512.New, "https://"+running.Addr+pathOf(Activity), params))
			}

			s.Fault(test.fault)
			test.check(t, request())
			if got := s.Faults(); got != 0 {
				t.Errorf("%d faults left, want none", got)
			}
			if got := s.Calls()[0].Fault; got != test.fault.Kind {
				t.Errorf("Call.Fault = %q, want %q", got, test.fault.Kind)
			}
			status(200, `"activity_id": "b"`)(t, request())
		})
	}
}

// TestFaultsEndInTheirOrder plans several faults at once and asserts which call meets which.
func TestFaultsEndInTheirOrder(t *testing.T) {
	s := New(frozen(Config{}))
	s.Fault(Fault{Kind: FaultHTML, Log: Telephony})
	s.Fault(Fault{Kind: FaultFail, Log: Activity, Skip: 1, N: 2})
	s.Fault(Fault{Kind: FaultSameOffset, Log: Activity})
	s.Fault(Fault{Kind: FaultStatus, Log: Activity, Match: func(c Call) bool { return c.Param("limit") == "7" }})
	s.Fault(Fault{Kind: FaultStatus, Log: Activity, Status: 503, N: -1})
	window := between(epoch.Add(-time.Hour), epoch)
	call := func(log string, more ...string) int { return ask(s, log, append(window[:2:2], more...)...).Code }

	got := []int{
		call(Activity), call(Activity), call(Activity), // one passes, two fail with 200
		call(Activity), call(Activity, "limit=7"), call(Activity), // no cursor, so the endless one; the matching one; the endless one
		call(Telephony), call(Telephony),
	}
	s.ClearFaults()
	got = append(got, call(Activity))
	if diff := cmp.Diff([]int{200, 200, 200, 503, 500, 503, 502, 200, 200}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

// TestHang hangs, in a bubble, until the client's patience ends, and until the server is closed.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		pipe := s.Pipe()
		c := client(pipe.Serving, func(tr *http.Transport) { tr.DialContext = pipe.DialContext })
		defer c.CloseIdleConnections()
		s.Fault(Fault{Kind: FaultHang, N: -1})
		request := func(ctx context.Context) reply {
			now := time.Now()
			return fetch(c, signed(now, sha512.New, "https://"+testHost+pathOf(Activity), values(between(now.Add(-time.Hour), now)...)).WithContext(ctx))
		}

		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if r := request(ctx); !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("got %d, %v; want the deadline exceeded", r.status, r.err)
		}
		if got := time.Since(begin); got != 30*time.Second {
			t.Errorf("hung for %v, want 30s", got)
		}

		hung := make(chan error)
		go func() { hung <- request(t.Context()).err }()
		synctest.Wait()
		pipe.Close()
		if err := <-hung; err == nil {
			t.Error("a call on a closed server was answered")
		}
		if got := s.Count(Activity).Status[0]; got != 2 {
			t.Errorf("%d calls without an answer, want 2", got)
		}
	})
}
