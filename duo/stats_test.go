package duo_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// Each way in which a call can end is counted as what it was, and while the last
// one failed the stream is not up.
func TestCallsByOutcome(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault duotest.Fault
		want  duo.Outcome
		pace  time.Duration
	}{
		{"429", duotest.Fault{Kind: duotest.FaultRateLimit}, duo.Limited, 0},
		{"400", duotest.Fault{Kind: duotest.FaultStatus, Status: 400}, duo.Rejected, 0},
		{"401", duotest.Fault{Kind: duotest.FaultStatus, Status: 401}, duo.Denied, 0},
		{"403", duotest.Fault{Kind: duotest.FaultStatus, Status: 403}, duo.Denied, 0},
		{"404", duotest.Fault{Kind: duotest.FaultStatus, Status: 404}, duo.Missing, 0},
		{"410", duotest.Fault{Kind: duotest.FaultStatus, Status: 410}, duo.Missing, 0},
		{"500", duotest.Fault{Kind: duotest.FaultStatus, Status: 500}, duo.Unavailable, 0},
		{"stat FAIL", duotest.Fault{Kind: duotest.FaultFail}, duo.Unavailable, 0},
		{"a redirect", duotest.Fault{Kind: duotest.FaultRedirect}, duo.Unavailable, 0},
		{"a reset", duotest.Fault{Kind: duotest.FaultReset}, duo.Unavailable, 0},
		{"no answer", duotest.Fault{Kind: duotest.FaultHang}, duo.Unavailable, 0},
		{"half a page", duotest.Fault{Kind: duotest.FaultBroken}, duo.Unavailable, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				a.server.Fault(tt.fault)
				began := time.Now()
				r := a.read(duotest.Activity, defaults, duo.NewCursor(began.Add(-time.Hour), began))
				time.Sleep(31 * time.Second)
				synctest.Wait()
				want := duo.Counts{Pace: tt.pace}
				want.Calls[tt.want] = 1
				got := r.stats.Counts()
				if want.Calls[duo.OK] = got.Calls[duo.OK]; want.Calls[duo.OK] > 0 { // it was asked again by now
					want.Up, want.LastSuccess = true, got.LastSuccess
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("after the fault (-want +got):\n%s", diff)
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				got = r.stats.Counts()
				if since := time.Since(got.LastSuccess); !got.Up || got.Calls[duo.OK] < 4 || since > time.Minute {
					t.Errorf("ten minutes later: %+v, the last success %v ago", got, since)
				}
				if total := uint64(len(a.server.Calls())); got.Calls[duo.OK]+got.Calls[tt.want] != total {
					t.Errorf("%v calls are counted, Duo saw %d", got.Calls, total)
				}
			})
		})
	}
}

// Before the first page there is no success.
func TestNoSuccessYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 403, N: -1})
		r := a.read(duotest.Activity, defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		time.Sleep(time.Hour)
		synctest.Wait()
		got := r.stats.Counts()
		if got.Up || !got.LastSuccess.IsZero() || got.Calls[duo.Denied] < 8 {
			t.Errorf("after an hour of 403: %+v", got)
		}
	})
}

// Duo's clock is that of its pages: an error can be a gateway's, and by its clock
// an outage may look like no lag.
func TestClockOfAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		a.server.Fault(duotest.Fault{
			Kind: duotest.FaultStatus, Status: 503, N: -1, Skip: 1,
			Header: http.Header{"Date": {"Thu, 01 Jan 1970 00:00:00 GMT"}},
		})
		r := a.read(duotest.Activity, defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		for range 10 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := r.stats.Counts(); got.Behind != 0 {
				t.Fatalf("%+v: Duo's clock is right", got)
			}
		}
		if got := r.stats.Counts(); got.Calls[duo.Unavailable] < 5 {
			t.Errorf("%+v: the outage was none", got)
		}
	})
}

// A page that cannot be delivered is no success, however often it is read: else
// nothing would show that the log stands still.
func TestPageThatCannotBeDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		l, err := duo.LookupLog(duotest.Activity)
		if err != nil {
			t.Fatal(err)
		}
		stats, reads := &duo.Stats{}, 0
		for range 3 {
			func() {
				defer func() { recover(); time.Sleep(time.Minute) }()
				p := &duo.Poller{
					Log: l, Client: a.client(), Window: defaults, Cursor: duo.NewCursor(time.Now().Add(-time.Hour), time.Now()), Logger: slog.New(&logLines{}), Stats: stats,
					Deliver: func(context.Context, []duo.Record, duo.Cursor) error { reads++; panic("odd") },
				}
				_ = p.Run(t.Context())
			}()
		}
		if got := stats.Counts(); reads != 3 || got.Up || !got.LastSuccess.IsZero() {
			t.Errorf("after %d reads: %+v", reads, got)
		}
	})
}

// What comes again within the overlap is counted as dropped, each time that it
// comes, and nothing else is: of v1 logs neither what is held back nor the second
// that is asked for and not needed.
func TestDuplicatesAreCounted(t *testing.T) {
	for _, log := range []string{duotest.Activity, duotest.TrustMonitor, duotest.Administrator} {
		t.Run(log, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				now := time.Now()
				a.server.Add(log, duotest.NewRecords(log, 1, now.Add(-4*time.Minute), now.Add(-3*time.Minute), 10)...)
				r := a.read(log, defaults, duo.NewCursor(now.Add(-time.Hour), now))
				for polls := range uint64(4) {
					time.Sleep(10 * time.Second)
					synctest.Wait()
					got := r.stats.Counts()
					again := got.Calls[duo.OK] - 1
					if want := again * 10; got.Duplicates != want || len(r.got()) != 10 || again < polls {
						t.Errorf("after %d polls %d duplicates are counted, want %d; %d records arrived, want 10", got.Calls[duo.OK], got.Duplicates, want, len(r.got()))
					}
					time.Sleep(50 * time.Second)
				}
			})
		})
	}
}

// Late events are counted with the first that is found.
func TestLateIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		g := duotest.NewGenerator(duotest.Activity, 5, duotest.Options{})
		r := a.read(duotest.Activity, defaults, duo.NewCursor(time.Now().Add(-time.Minute), time.Now()))
		happened := time.Now()
		time.Sleep(10 * time.Hour)
		for range 3 {
			happened = happened.Add(-time.Millisecond)
			a.server.AddAt(duotest.Activity, time.Now(), g.At(happened))
			time.Sleep(time.Minute)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := r.stats.Counts().Late; got != 3 {
			t.Errorf("%d late events are counted, want 3", got)
		}
	})
}

// Reach is where the log has been read to: the last page while there are more,
// then the end of the window, also of an idle log.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		now := time.Now()
		c := duo.NewCursor(now.Add(-2*time.Hour), now)
		a.server.Add(duotest.Activity, duotest.NewRecords(duotest.Activity, 1, now.Add(-time.Hour), now.Add(-30*time.Minute), 250)...)
		l, err := duo.LookupLog(duotest.Activity)
		if err != nil {
			t.Fatal(err)
		}
		w := defaults
		w.PageSize = 100
		got := []duo.Millis{c.Reach()}
		want := []duo.Millis{duo.ToMillis(now.Add(-2 * time.Hour))}
		p := &duo.Poller{Log: l, Client: a.client(), Window: w, Cursor: c, Logger: slog.New(&logLines{}),
			Deliver: func(_ context.Context, fresh []duo.Record, c duo.Cursor) error {
				got = append(got, c.Reach())
				switch {
				case c.CaughtUp():
					want = append(want, duo.ToMillis(time.Now().Add(-2*time.Minute)))
				case len(fresh) > 0:
					want = append(want, duo.ToMillis(fresh[len(fresh)-1].Time))
				}
				return nil
			}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		_ = p.Run(ctx)
		if diff := cmp.Diff(want, got); diff != "" || len(got) < 8 {
			t.Errorf("reach with each page (-want +got):\n%s", diff)
		}
	})
}
