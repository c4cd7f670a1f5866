package duo_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

func child(n int) duotest.Child {
	return duotest.Child{ID: fmt.Sprintf("DA%03d", n), Name: fmt.Sprint("Example ", n), Host: fmt.Sprintf("api-%08d.duosecurity.com", n)}
}

// TestDirectory: the list comes at once and then every ten minutes; trouble is
// said once, retried sooner, and keeps what is known.
func TestDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		a.server.AddChild(child(1))
		logs := &logLines{}
		var lists []string
		began := time.Now()
		d := &duo.Directory{Client: a.client(), Logger: slog.New(logs), Update: func(accounts []duo.Account) {
			var ids []string
			for _, a := range accounts {
				ids = append(ids, a.ID+"@"+a.Host)
			}
			lists = append(lists, fmt.Sprintf("%.0f min: %s", time.Since(began).Minutes(), strings.Join(ids, " ")))
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		time.Sleep(time.Minute)
		a.server.AddChild(child(2))
		time.Sleep(11 * time.Minute)
		a.server.RemoveChild("DA001")
		a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, N: -1})
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(lists); n != 2 {
			t.Errorf("%d lists: %q", n, lists)
		}
		calls := len(a.server.Calls())
		// About one a minute, with jitter, from the first list on that failed.
		if calls < 40 || calls > 90 {
			t.Errorf("%d calls in an hour of trouble", calls)
		}
		a.server.ClearFaults()
		time.Sleep(2 * time.Minute)
		cancel()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
		for i, want := range []string{
			"0 min: DA001@api-00000001.duosecurity.com",
			"DA001@api-00000001.duosecurity.com DA002@api-00000002.duosecurity.com",
			"DA002@api-00000002.duosecurity.com",
		} {
			if i >= len(lists) || !strings.HasSuffix(lists[i], want) {
				t.Errorf("list %d: want %s in %q", i, want, lists)
			}
		}
		got := strings.Join(logs.all(), "\n")
		if len(logs.all()) != 2 || !strings.Contains(got, "WARN list of child accounts: Duo answers with an error (HTTP 500") ||
			!strings.Contains(got, "the accounts that are known are pulled on\nINFO list of child accounts: Duo answers again") {
			t.Errorf("log:\n%s", got)
		}
		for _, c := range a.server.Calls() {
			if c.Path != "/accounts/v1/account/list" || c.Signature != "sha512" || c.Host != host {
				t.Errorf("call %+v", c)
			}
		}
	})
}

// TestChildsCalls: a child's calls go to its own host with its account_id, which
// is a part of what is signed.
func TestChildsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		c := a.server.AddChild(child(1))
		now := time.Now()
		c.Add("activity", duotest.NewRecords("activity", 1, now.Add(-24*time.Hour), now.Add(-3*time.Minute), 2500)...)
		tr, err := duo.NewTransport(duo.TransportConfig{})
		if err != nil {
			t.Fatal(err)
		}
		tr.Proxy, tr.DialContext, tr.TLSClientConfig.RootCAs = nil, a.pipe.DialContext, a.pipe.Pool()
		defer tr.CloseIdleConnections()
		client := duo.NewClient(duo.Credentials{
			Host: c.Host, IntegrationKey: duotest.IntegrationKey, SecretKey: duo.NewSecret(duotest.SecretKey), Account: c.ID,
		}, http.RoundTripper(tr), 30*time.Second, "duo_in/test")
		l, _ := duo.LookupLog("activity")
		r := &reading{logs: &logLines{}}
		p := &duo.Poller{Log: l, Client: client, Window: defaults, Cursor: duo.NewCursor(now.Add(-24*time.Hour), now), Logger: slog.New(r.logs), Deliver: r.take(l), Gate: &duo.Gate{}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_ = p.Run(ctx)
		sameOnce(t, c.IDs("activity"), r.got())
		if diff := cmp.Diff([]string(nil), r.logs.all()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		for _, call := range a.server.Calls() {
			if call.Astray || call.Account != c.ID || call.Host != c.Host || call.Status != http.StatusOK {
				t.Errorf("call %+v", call)
			}
		}
	})
}
