package duo_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// One call for each log tells whether it can be read, and what is said otherwise
// is a poller's line without what only a poller does.
func TestProbe(t *testing.T) {
	for _, l := range duo.Logs() {
		t.Run(l.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				backlog(a.server, l.Name, 30)
				c := a.client()
				if err := c.Probe(context.Background(), l, defaults); err != nil {
					t.Fatal(err)
				}
				calls := a.server.Calls()
				if len(calls) != 1 || calls[0].Log != l.Name || calls[0].Code != 0 {
					t.Errorf("calls %+v, want one of %s", calls, l.Name)
				}
				if limit := calls[0].Param("limit"); l.Path[:9] == "/admin/v2" && limit != "1" {
					t.Errorf("limit %q, want 1", limit)
				}
				a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 403})
				err := c.Probe(context.Background(), l, defaults)
				var api *duo.APIError
				if !errors.As(err, &api) || api.Status != 403 {
					t.Fatalf("error %v, want a 403", err)
				}
				if text := duo.Explain(err, l, ""); !strings.Contains(text, "Grant read log") || strings.Contains(text, "again") {
					t.Errorf("explained as %q", text)
				}
				a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 200, Body: `{"stat":"OK","response":{"x":1}}`})
				if err := c.Probe(context.Background(), l, defaults); !errors.Is(err, duo.ErrNotPage) {
					t.Errorf("error %v, want that this is no page", err)
				}
			})
		})
	}
}
