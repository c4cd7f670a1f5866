package duo_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// TestRoom: no call is made while there is no room for its page, and the window is
// opened only then, so that it reaches up to the present.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		backlog(a.server, "activity", 10)
		began := time.Now()
		delivered, until := 0, duo.Millis(0)
		l, err := duo.LookupLog("activity")
		if err != nil {
			t.Fatal(err)
		}
		p := &duo.Poller{
			Log: l, Client: a.client(), Window: defaults, Cursor: duo.NewCursor(began.Add(-25*time.Hour), began), Logger: slog.New(&logLines{}),
			Room: func(ctx context.Context) error {
				if time.Since(began) < time.Hour {
					time.Sleep(time.Hour)
				}
				return ctx.Err()
			},
			Deliver: func(_ context.Context, records []duo.Record, c duo.Cursor) error {
				delivered, until = delivered+len(records), c.Reach()
				return nil
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour+time.Second)
		defer cancel()
		_ = p.Run(ctx)
		calls := a.server.Calls()
		if len(calls) == 0 || calls[0].At.Before(began.Add(time.Hour)) || delivered != 10 {
			t.Errorf("%d calls, %d records", len(calls), delivered)
		}
		if want := duo.ToMillis(began.Add(time.Hour - defaults.Delay)); until < want {
			t.Errorf("read up to %v, want %v", until, want)
		}
	})
}
