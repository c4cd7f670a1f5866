package duo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

const host = "api-00000000.duosecurity.com"

// defaults are the windows of an installation that sets nothing.
var defaults = duo.Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: 1000}

// account is a duotest server in memory and pollers against it. It lives in a
// synctest bubble.
type account struct {
	t      *testing.T
	server *duotest.Server
	pipe   *duotest.PipeListener
	secret string
	now    func() time.Time
	wrap   func(http.RoundTripper) http.RoundTripper
}

func newAccount(t *testing.T, c duotest.Config) *account {
	c.Host = host
	s := duotest.New(c)
	a := &account{t: t, server: s, pipe: s.Pipe(), secret: duotest.SecretKey, now: time.Now}
	t.Cleanup(a.pipe.Close)
	return a
}

// client returns a client as the plugin makes it, connected in memory.
func (a *account) client() *duo.Client {
	tr, err := duo.NewTransport(duo.TransportConfig{})
	if err != nil {
		a.t.Fatal(err)
	}
	tr.Proxy = nil
	tr.DialContext = a.pipe.DialContext
	tr.TLSClientConfig.RootCAs = a.pipe.Pool()
	a.t.Cleanup(tr.CloseIdleConnections)
	var rt http.RoundTripper = tr
	if a.wrap != nil {
		rt = a.wrap(tr)
	}
	creds := duo.Credentials{Host: host, IntegrationKey: duotest.IntegrationKey, SecretKey: duo.NewSecret(a.secret)}
	c := duo.NewClient(creds, rt, 30*time.Second, "duo_in/test")
	c.Now = a.now
	return c
}

// reading is a poller at work and what it delivered.
type reading struct {
	poller *duo.Poller
	logs   *logLines
	stats  duo.Stats
	stop   func()

	mu     sync.Mutex
	ids    []string // Duo's, in the order of delivery
	raws   []string // the records themselves
	events []string // event_ids
	times  []time.Time
	last   duo.Cursor // delivered
	fail   error      // what Deliver answers, once set
}

// read starts a poller at a cursor and ends it with the test.
func (a *account) read(log string, w duo.Window, c duo.Cursor) *reading {
	l, err := duo.LookupLog(log)
	if err != nil {
		a.t.Fatal(err)
	}
	r := &reading{logs: &logLines{}}
	r.poller = &duo.Poller{Log: l, Client: a.client(), Window: w, Cursor: c, Logger: slog.New(r.logs), Deliver: r.take(l), Stats: &r.stats}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.poller.Run(ctx) }()
	r.stop = func() {
		cancel()
		<-done
		synctest.Wait() // the server may still be noting the last call
	}
	a.t.Cleanup(r.stop)
	return r
}

func (r *reading) take(l duo.Log) func(context.Context, []duo.Record, duo.Cursor) error {
	return func(ctx context.Context, records []duo.Record, c duo.Cursor) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fail != nil {
			<-ctx.Done()
			return ctx.Err()
		}
		for _, rec := range records {
			var fields map[string]any
			_ = json.Unmarshal(rec.Raw, &fields) // what is no object has no id
			id, _ := fields[l.ID].(string)
			r.ids = append(r.ids, id)
			r.raws = append(r.raws, string(rec.Raw))
			r.events = append(r.events, rec.EventID)
			r.times = append(r.times, rec.Time)
		}
		clear(records) // as the plugin does
		r.last = c
		return nil
	}
}

// stored is the last cursor as it would be saved, which is later than it was delivered.
func (r *reading) stored(t *testing.T) []byte {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := json.Marshal(r.last)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// resumed is the cursor that a restart would find.
func (r *reading) resumed(t *testing.T) (c duo.Cursor) {
	t.Helper()
	if err := json.Unmarshal(r.stored(t), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *reading) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

// sameOnce reports what is missing and what came more than once.
func sameOnce(t *testing.T, want, got []string) {
	t.Helper()
	count := map[string]int{}
	for _, id := range want {
		count[id]++
	}
	for _, id := range got {
		count[id]--
	}
	missing, extra := 0, 0
	for _, n := range count {
		missing += max(n, 0)
		extra += max(-n, 0)
	}
	if missing > 0 || extra > 0 {
		t.Errorf("of %d records %d are missing and %d came too often", len(want), missing, extra)
	}
}

// logLines is a slog handler that keeps lines.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logLines) WithGroup(string) slog.Handler            { return l }
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Level.String()+" "+r.Message)
	return nil
}
func (l *logLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// small is for tests of very many records: the race detector takes half a
// millisecond over one of full size, each time that it is read.
var small = duotest.Options{Small: true}

// backlog files n small records of the last day.
func backlog(s *duotest.Server, log string, n int) {
	now := time.Now()
	s.Add(log, duotest.NewGenerator(log, 1, small).Spread(now.Add(-24*time.Hour), now.Add(-3*time.Minute), n)...)
}

func TestBacklogArrivesOnceInOrder(t *testing.T) {
	for _, log := range duotest.Logs() {
		t.Run(log, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				backlog(a.server, log, 2500)
				r := a.read(log, defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
				time.Sleep(10 * time.Minute)
				if diff := cmp.Diff(a.server.IDs(log), r.got()); diff != "" {
					t.Errorf("ids (-filed +delivered):\n%s", diff)
				}
				// Within a millisecond Duo orders by id.
				if !slices.IsSortedFunc(r.times, func(a, b time.Time) int { return int(a.UnixMilli() - b.UnixMilli()) }) {
					t.Error("times are out of order")
				}
			})
		})
	}
}

// Every way in which Duo may write the same pages leads to the same records.
func TestShapes(t *testing.T) {
	for name, c := range map[string]duotest.Config{
		"end empty": {OffsetEnd: "empty"}, "end list": {OffsetEnd: "list"}, "end missing": {OffsetEnd: "missing"},
		"metadata beside": {MetadataBeside: true}, "total as object": {TotalAsObject: true}, "offset alone": {OffsetAlone: true},
		"pages capped at 100": {PageCap: 100}, "pages capped at 1": {PageCap: 1},
	} {
		for _, log := range duotest.Logs() {
			t.Run(name+"/"+log, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAccount(t, c)
					backlog(a.server, log, 250)
					r := a.read(log, defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
					time.Sleep(20 * time.Minute)
					sameOnce(t, a.server.IDs(log), r.got())
				})
			})
		}
	}
}

// A Duo that caps its pages below what was asked, with more records within the
// overlap than a page holds, must not be read over and over at its first page.
func TestCappedPagesWithinOverlap(t *testing.T) {
	for _, n := range []int{10, 11, 60, -10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{PageCap: 10})
				if n < 0 { // without a total to go by
					n = -n
					a.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, N: -1, Rewrite: func(b []byte) []byte {
						return bytes.ReplaceAll(b, []byte(`"total_objects"`), []byte(`"objects"`))
					}})
				}
				now := time.Now()
				a.server.Add("activity", duotest.NewRecords("activity", 1, now.Add(-150*time.Second), now.Add(-130*time.Second), n)...)
				r := a.read("activity", defaults, duo.NewCursor(now.Add(-time.Hour), now))
				time.Sleep(5 * time.Minute)
				a.server.Add("activity", duotest.NewRecords("activity", 2, now.Add(5*time.Minute), now.Add(6*time.Minute), n)...)
				time.Sleep(2 * time.Hour)
				sameOnce(t, a.server.IDs("activity"), r.got())
			})
		})
	}
}

// Records without an id that are equal in every byte are events of their own,
// wherever a page border falls and whatever is read again.
func TestEqualRecordsWithoutID(t *testing.T) {
	for size := 1; size <= 7; size++ {
		t.Run(fmt.Sprint("pages of ", size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{OffsetAlone: true})
				at := time.Now().Add(-10 * time.Minute).Format("2006-01-02T15:04:05.000000+00:00")
				for i := range 6 {
					// duotest pages by (ms, id); distinct ids there, none in what the client sees.
					a.server.Add("activity", json.RawMessage(fmt.Sprintf(`{"activity_id":"id-%d","action":"x","ts":%q}`, i, at)))
				}
				a.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, N: -1, Rewrite: withoutIDs})
				w := defaults
				w.PageSize = size
				r := a.read("activity", w, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
				time.Sleep(30 * time.Minute)
				if got := len(r.got()); got != 6 {
					t.Errorf("%d of 6 equal records arrived", got)
				}
			})
		})
	}
}

// A Duo that renames the field of the time loses its readers nothing.
func TestRecordsWithoutReadableTime(t *testing.T) {
	for _, limit := range []int{0, 100} {
		t.Run(fmt.Sprint("capped at ", limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{PageCap: limit})
				backlog(a.server, "activity", 2500)
				a.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, N: -1, Rewrite: func(b []byte) []byte {
					return bytes.ReplaceAll(b, []byte(`"ts": "`), []byte(`"time": "`))
				}})
				r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
				time.Sleep(10 * time.Minute)
				a.server.Add("activity", duotest.NewRecords("activity", 2, time.Now(), time.Now(), 30)...)
				time.Sleep(time.Hour)
				sameOnce(t, a.server.IDs("activity"), r.got())
				for _, at := range r.times {
					if at.Before(time.Now().Add(-26*time.Hour)) || at.After(time.Now()) {
						t.Fatalf("a record got the time %v", at)
					}
				}
			})
		})
	}
}

func withoutIDs(body []byte) []byte {
	for i := range 10 {
		body = bytes.ReplaceAll(body, fmt.Appendf(nil, `"activity_id":"id-%d",`, i), nil)
	}
	return body
}

// trickle files one small record every gap until the context ends, as they happen by
// the server's clock, and returns their ids when it is over.
func trickle(s *duotest.Server, log string, gap, length time.Duration, now func() time.Time) {
	g := duotest.NewGenerator(log, 99, small)
	for end := now().Add(length); now().Before(end); time.Sleep(gap) {
		s.Add(log, g.At(now()))
	}
}

func TestLiveEventsAndIdleCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		r := a.read("authentication", defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		trickle(a.server, "authentication", 700*time.Millisecond, time.Hour, time.Now)
		time.Sleep(10 * time.Minute)
		sameOnce(t, a.server.IDs("authentication"), r.got())

		before := len(a.server.Calls())
		time.Sleep(time.Hour)
		if n := len(a.server.Calls()) - before; n > 60+1 {
			t.Errorf("%d calls in an idle hour, more than one a minute and one to see the end", n)
		}
	})
}

// A clock that is an hour ahead for ten minutes and then right again, with and
// without a Date in Duo's answers to tell it.
func TestClockAhead(t *testing.T) {
	for _, dated := range []bool{true, false} {
		t.Run(fmt.Sprint("dated ", dated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{MaxSkew: -1})
				start := time.Now()
				a.now = func() time.Time {
					if since := time.Since(start); since > 20*time.Minute && since < 30*time.Minute {
						return time.Now().Add(time.Hour)
					}
					return time.Now()
				}
				if !dated {
					a.wrap = func(rt http.RoundTripper) http.RoundTripper { return dateless{rt} }
				}
				r := a.read("authentication", defaults, duo.NewCursor(start.Add(-time.Hour), start))
				trickle(a.server, "authentication", time.Second, 2*time.Hour, time.Now)
				time.Sleep(10 * time.Minute)
				sameOnce(t, a.server.IDs("authentication"), r.got())
			})
		})
	}
}

// dateless takes the Date out of answers, as some gateways do.
type dateless struct{ http.RoundTripper }

func (d dateless) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(r)
	if resp != nil {
		resp.Header.Del("Date")
	}
	return resp, err
}

func TestEmptyForDaysThenOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		r := a.read("telephony", defaults, duo.NewCursor(time.Now(), time.Now()))
		time.Sleep(3 * 24 * time.Hour)
		a.server.Add("telephony", duotest.NewRecords("telephony", 5, time.Now(), time.Now(), 1)...)
		time.Sleep(5 * time.Minute)
		sameOnce(t, a.server.IDs("telephony"), r.got())
		for _, line := range r.logs.all() {
			t.Error("unexpected log line: ", line)
		}
	})
}

// An empty log passes Duo's 180 days without a warning: nothing was missed.
func TestRetentionPassesQuietlyWhenNothingWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		w := defaults
		w.PollInterval = 24 * time.Hour
		now := time.Now()
		a.server.Add("activity", duotest.NewRecords("activity", 5, now.Add(-time.Hour), now.Add(-time.Hour), 3)...)
		r := a.read("activity", w, duo.NewCursor(now.Add(-181*24*time.Hour), now))
		time.Sleep(200 * 24 * time.Hour)
		sameOnce(t, a.server.IDs("activity"), r.got())
		for _, line := range r.logs.all() {
			t.Error("unexpected log line: ", line)
		}
		for _, c := range a.server.Calls() {
			if c.Status != 200 {
				t.Fatalf("call answered with %d: %s", c.Status, c.Query)
			}
		}
	})
}

func TestLateEventsWithinOverlapArriveOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		g := duotest.NewGenerator("activity", 3, small)
		r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		for i := range 300 {
			now := time.Now()
			a.server.Add("activity", g.At(now))
			if i%3 == 0 {
				a.server.AddAt("activity", now.Add(6*time.Minute), g.At(now))
			}
			time.Sleep(11 * time.Second)
		}
		time.Sleep(time.Hour)
		sameOnce(t, a.server.IDs("activity"), r.got())
	})
}

// However often a reader is stopped, and whatever it had delivered last, the
// stored cursor leads on to exactly what had not been delivered with it.
func TestResumeAtEveryPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		now := time.Now()
		a.server.Add("authentication", duotest.NewRecords("authentication", 1, now.Add(-20*time.Minute), now.Add(-3*time.Minute), 120)...)
		w := defaults
		w.PageSize = 7
		cursor := duo.NewCursor(now.Add(-time.Hour), now)
		var got []string
		for i := 0; i < 200 && len(got) < 120; i++ {
			r := a.read("authentication", w, cursor)
			// The first page is kept, the second one lost.
			for len(r.got()) == 0 {
				time.Sleep(time.Second)
			}
			r.stop()
			got = append(got, r.got()...)
			cursor = r.resumed(t)
		}
		sameOnce(t, a.server.IDs("authentication"), got)
	})
}

// Faults of every kind end, and nothing is missing: each is said once when it
// begins and once when it is over.
func TestFaults(t *testing.T) {
	status := func(code int, body string) duotest.Fault {
		return duotest.Fault{Kind: duotest.FaultStatus, Status: code, Body: body}
	}
	for name, f := range map[string]duotest.Fault{
		"500": status(500, ""), "503": status(503, "upstream"), "400": status(400, `{"stat":"FAIL","code":40002,"message":"Invalid request parameters","message_detail":"next_offset"}`),
		"401": status(401, `{"stat":"FAIL","code":"40103","message":"Invalid signature"}`), "404": status(404, ""), "410": status(410, ""),
		"fail in a 200":           {Kind: duotest.FaultFail},
		"fail with an empty code": {Kind: duotest.FaultStatus, Status: 200, Body: `{"stat":"FAIL","code":"","message":null}`},
		"html":                    {Kind: duotest.FaultHTML}, "html in a 200": status(200, "<html></html>"), "empty body": status(200, " "),
		"redirect": {Kind: duotest.FaultRedirect}, "rate limit": {Kind: duotest.FaultRateLimit}, "hang": {Kind: duotest.FaultHang},
		"reset": {Kind: duotest.FaultReset}, "huge": {Kind: duotest.FaultHuge, Size: 17 << 20}, "truncate": {Kind: duotest.FaultTruncate},
		"broken": {Kind: duotest.FaultBroken}, "same offset": {Kind: duotest.FaultSameOffset},
		"rewind": {Kind: duotest.FaultRewind}, "null list": status(200, `{"stat":"OK","response":{}}`),
	} {
		for _, skip := range []int{0, 2, 4} {
			t.Run(fmt.Sprint(name, "/after ", skip), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAccount(t, duotest.Config{})
					backlog(a.server, "activity", 400)
					f.Skip, f.N = skip, 3
					a.server.Fault(f)
					w := defaults
					w.PageSize = 100
					r := a.read("activity", w, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
					time.Sleep(30 * time.Minute) // the operator's errors take 15
					if a.server.Faults() != 0 && f.Kind != duotest.FaultSameOffset && f.Kind != duotest.FaultRewind {
						t.Errorf("%d faults were not met", a.server.Faults())
					}
					sameOnce(t, a.server.IDs("activity"), r.got())
					if lines := r.logs.all(); len(lines) > 6 {
						t.Errorf("%d log lines for one trouble:\n%s", len(lines), strings.Join(lines, "\n"))
					}
				})
			})
		}
	}
}

// A refused next_offset is got round at once, and the line does not speak of the
// 5 minutes that come only if that is refused too.
func TestRefusedOffset(t *testing.T) {
	const (
		offset = "activity: Duo refuses a next_offset (HTTP 400, code 40002: Invalid request parameters); going on at the time of the last record"
		lasts  = "activity: Duo refuses the request (HTTP 400, code 40002: Invalid request parameters): check this machine's clock; if that is right, please report this line; trying again every 5 minutes"
		over   = "activity: Duo answers again"
	)
	for n, want := range map[int][]string{1: {offset, over}, 2: {offset, lasts, over}} {
		synctest.Test(t, func(t *testing.T) {
			a := newAccount(t, duotest.Config{})
			backlog(a.server, "activity", 400)
			a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusBadRequest, Skip: 1, N: n})
			w := defaults
			w.PageSize = 100
			r := a.read("activity", w, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
			time.Sleep(time.Hour)
			sameOnce(t, a.server.IDs("activity"), r.got())
			if lines := r.logs.all(); !slices.EqualFunc(lines, want, strings.Contains) {
				t.Errorf("%d refusals: lines %q, want %q", n, lines, want)
			}
		})
	}
}

func TestHarmlessFaults(t *testing.T) {
	for _, kind := range []duotest.FaultKind{duotest.FaultSlow, duotest.FaultGzip} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				backlog(a.server, "telephony", 300)
				a.server.Fault(duotest.Fault{Kind: kind, N: -1, Delay: time.Second})
				r := a.read("telephony", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
				time.Sleep(time.Hour)
				sameOnce(t, a.server.IDs("telephony"), r.got())
				if lines := r.logs.all(); len(lines) > 0 {
					t.Errorf("log lines: %q", lines)
				}
			})
		})
	}
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{Budget: 5, BudgetWindow: time.Minute, CountRefused: true})
		backlog(a.server, "authentication", 6000)
		w := defaults
		w.PageSize = 100
		r := a.read("authentication", w, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
		time.Sleep(3 * time.Hour)
		sameOnce(t, a.server.IDs("authentication"), r.got())
		var refused time.Time
		for _, c := range a.server.Calls() {
			if !refused.IsZero() && c.At.Sub(refused) < time.Minute {
				t.Errorf("call %v after a 429", c.At.Sub(refused))
			}
			refused = time.Time{}
			if c.Status == 429 {
				refused = c.At
			}
		}
	})
}

// What only the operator can mend is said in one line that names the cause and
// the remedy, and ends without a restart when it is mended.
func TestOperatorErrors(t *testing.T) {
	for _, tc := range []struct {
		name        string
		break_      func(*account)
		mend        func(*account)
		want        []string
		forbidden   string
		clockAround time.Duration
	}{
		{
			name:   "wrong secret",
			break_: func(a *account) { a.server.SetKeys(duotest.IntegrationKey, "another secret") },
			mend:   func(a *account) { a.server.SetKeys(duotest.IntegrationKey, duotest.SecretKey) },
			want:   []string{"40103", "check secret_key"},
		},
		{
			name:   "unknown integration key",
			break_: func(a *account) { a.server.SetKeys("DIXXXXXXXXXXXXXXXXXX", duotest.SecretKey) },
			mend:   func(a *account) { a.server.SetKeys(duotest.IntegrationKey, duotest.SecretKey) },
			want:   []string{"40102", "check integration_key"},
		},
		{
			name:   "missing permission",
			break_: func(a *account) { a.server.SetPermission("activity", false) },
			mend:   func(a *account) { a.server.SetPermission("activity", true) },
			want:   []string{"40301", "Grant read log"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				backlog(a.server, "activity", 50)
				tc.break_(a)
				r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
				time.Sleep(21 * time.Minute)
				lines := r.logs.all()
				if len(lines) != 1 || !containsAll(lines[0], tc.want) {
					t.Fatalf("want one line with %q, got %q", tc.want, lines)
				}
				if n := len(a.server.Calls()); n < 3 || n > 6 {
					t.Errorf("%d calls in 21 minutes, want one about every 5 minutes", n)
				}
				tc.mend(a)
				time.Sleep(10 * time.Minute)
				sameOnce(t, a.server.IDs("activity"), r.got())
				if lines := r.logs.all(); len(lines) != 2 || !strings.Contains(lines[1], "Duo answers again") {
					t.Errorf("want a second line that it is over, got %q", lines)
				}
			})
		})
	}
}

func TestSkewedClockIsNamed(t *testing.T) {
	for _, skew := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				off := -skew // of Duo's clock against ours
				a := newAccount(t, duotest.Config{Now: func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return time.Now().Add(off)
				}})
				start := time.Now()
				r := a.read("activity", defaults, duo.NewCursor(start.Add(-24*time.Hour), start))
				time.Sleep(12 * time.Minute)
				word := map[bool]string{true: "ahead of", false: "behind"}[skew > 0]
				lines := r.logs.all()
				if len(lines) != 1 || !containsAll(lines[0], []string{"40103", "1h0m0s (3600 s) " + word, "NTP"}) {
					t.Fatalf("log: %q", lines)
				}
				mu.Lock()
				off = 0
				mu.Unlock()
				a.server.Add("activity", duotest.NewRecords("activity", 1, start, start.Add(time.Minute), 20)...)
				time.Sleep(15 * time.Minute)
				sameOnce(t, a.server.IDs("activity"), r.got())
			})
		})
	}
}

func containsAll(s string, parts []string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(s, p) })
}

// A call in flight never holds up a stop.
func TestStopDuringHangingCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		a.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
		r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		time.Sleep(5 * time.Second)
		begin := time.Now()
		r.stop()
		if took := time.Since(begin); took > 0 {
			t.Errorf("the stop took %v", took)
		}
	})
}

// The client shows itself by its own name only, and signs with SHA-512.
func TestUserAgentAndSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		a.read("activity", defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		time.Sleep(time.Second)
		calls := a.server.Calls()
		if len(calls) != 1 || calls[0].UserAgent != "duo_in/test" || calls[0].Signature != "sha512" {
			t.Errorf("calls: %+v", calls)
		}
	})
}

// Where 300 streams hang for good, one that Duo refuses a single time goes on as
// if it were alone.
func TestGateAfterOneRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, gate := newAccount(t, duotest.Config{}), &duo.Gate{}
		a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 503, Skip: 30, N: 1})
		l, err := duo.LookupLog("authentication")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var last time.Time
		var worst time.Duration
		deliver := func(context.Context, []duo.Record, duo.Cursor) error {
			if time.Since(began) > 10*time.Minute { // by then it is known which ones hang
				worst = max(worst, time.Since(last))
			}
			last = time.Now()
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		run := func(c *duo.Client) {
			p := &duo.Poller{Log: l, Client: c, Window: defaults, Cursor: duo.NewCursor(began, began), Deliver: deliver, Logger: slog.New(&logLines{}), Gate: gate}
			all.Go(func() { _ = p.Run(ctx) })
		}
		run(a.client())
		for range 300 {
			run(duo.NewClient(duo.Credentials{Host: host}, hanging{}, 30*time.Second, "duo_in/test"))
		}
		time.Sleep(2 * time.Hour)
		cancel()
		all.Wait()
		if most := defaults.PollInterval + 5*time.Second; worst == 0 || worst > most {
			t.Errorf("two polls were %v apart, want at most %v", worst, most)
		}
	})
}

// hanging is a network from which no answer comes.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
