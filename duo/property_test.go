package duo_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

var (
	seeds     = flag.Uint64("seeds", 8, "how many random trials TestNothingMissingWhateverHappens makes")
	firstSeed = flag.Uint64("seed", 0, "the first seed of TestNothingMissingWhateverHappens")
)

// Whatever Duo, the network, the clock and the operator do: once it is over,
// each event has arrived, and one time only for as long as a reader goes on
// from the cursor of its last delivery.
func TestNothingMissingWhateverHappens(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newTrial(t, seed).run() })
		})
	}
}

// trial is one drawn account with its readers, one after another.
type trial struct {
	*testing.T
	rand      *rand.Rand
	log       duo.Log
	generator *duotest.Generator
	account   *account
	config    duotest.Config
	window    duo.Window
	total     totals
	dateless  bool
	punctual  bool // Duo files nothing late

	filed  map[string]int // records by content
	serial int
	stop   func()

	mu    sync.Mutex // guards what follows
	ahead time.Duration
	first duo.Cursor
	// lineage is what was delivered and would have been by a reader that was
	// never stopped: a crash takes back what its cursor does not stand for.
	lineage []delivery
	events  map[string]string // every event_id that was ever delivered, with its record
	logs    *logLines
}

type delivery struct {
	records []duo.Record
	cursor  []byte
}

func newTrial(t *testing.T, seed uint64) *trial {
	r := rand.New(rand.NewPCG(seed, 0))
	log := pick(r, append(duo.Logs(), duo.Logs()[:3]...))
	tr := &trial{
		T: t, rand: r, log: log, logs: &logLines{}, filed: map[string]int{}, events: map[string]string{},
		generator: duotest.NewGenerator(log.Name, seed, duotest.Options{Quirks: pick(r, []float64{0, 0, 0.3})}),
		total:     pick(r, []totals{"", "", "absent", "too small", "text"}),
		dateless:  r.IntN(3) == 0,
		punctual:  r.IntN(3) == 0,
		config: duotest.Config{
			PageCap: pick(r, []int{0, 0, 0, 1, 7, 100}), OffsetAlone: r.IntN(2) == 0, OffsetEnd: pick(r, []string{"null", "empty", "list", "missing"}),
			MetadataBeside: r.IntN(4) == 0, TotalAsObject: r.IntN(2) == 0, MaxSkew: pick(r, []time.Duration{0, -1}),
			Budget: pick(r, []int{0, 0, 0, 2, 10, 50}), CountRefused: r.IntN(2) == 0,
			V1Page: pick(r, []int{1000, 1000, 1500}), V1Exclusive: r.IntN(2) == 0, V1Newest: r.IntN(2) == 0, TrustNewest: r.IntN(2) == 0, TrustText: r.IntN(2) == 0,
			BudgetKind: pick(r, []duotest.BudgetKind{duotest.TokenBucket, duotest.FixedWindow, duotest.SlidingWindow}),
		},
	}
	tr.draw()
	tr.account = newAccount(t, tr.config)
	tr.account.now = tr.now
	tr.account.wrap = func(rt http.RoundTripper) http.RoundTripper { return gateway{rt, tr} }
	return tr
}

// draw draws the options of a reader. One that asks for what Duo does not yet
// show must not count on anything late.
func (tr *trial) draw() {
	tr.window = duo.Window{
		Delay:        pick(tr.rand, []time.Duration{0, 30 * time.Second, 2 * time.Minute, 2 * time.Minute, 7 * time.Minute}),
		Overlap:      pick(tr.rand, []time.Duration{0, time.Second, time.Minute, 5 * time.Minute, 5 * time.Minute, 10 * time.Minute}),
		PollInterval: pick(tr.rand, []time.Duration{10 * time.Second, time.Minute, time.Minute, 5 * time.Minute}),
		PageSize:     pick(tr.rand, []int{1, 2, 10, 100, 1000, 1 + tr.rand.IntN(1000)}),
	}
	if !tr.punctual {
		tr.window.Delay = max(tr.window.Delay, 2*time.Minute)
	}
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// pageLen is how many records a page holds at most.
func (tr *trial) pageLen() int {
	if tr.log.Successor != "" {
		return tr.log.PageMax
	}
	return min(tr.window.PageSize, tr.log.PageMax, cmp.Or(tr.config.PageCap, tr.window.PageSize))
}

func (tr *trial) now() time.Time {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return time.Now().Add(tr.ahead)
}

func (tr *trial) run() {
	tr.first = duo.NewCursor(time.Now().Add(-24*time.Hour), time.Now())
	for range tr.rand.IntN(4) {
		tr.spread(time.Now().Add(-time.Duration(1+tr.rand.IntN(23))*time.Hour), time.Hour)
	}
	tr.start(tr.first)
	for range 5 + tr.rand.IntN(25) {
		tr.pass()
		pick(tr.rand, []func(){
			tr.burst, tr.burst, tr.late, tr.late, tr.live, tr.live, tr.equal, tr.timeless,
			tr.fault, tr.fault, tr.fault, tr.clock, tr.crash, tr.crash, tr.restart,
		})()
	}
	tr.heal()
	tr.verify()
	tr.idle()
}

// pass lets time pass: mostly little, sometimes so much that an idle log is
// polled a hundred times.
func (tr *trial) pass() {
	most := pick(tr.rand, []time.Duration{time.Second, time.Second, time.Minute, 10 * time.Minute, 100 * tr.window.PollInterval})
	time.Sleep(time.Duration(tr.rand.Int64N(int64(most))))
}

// several is a number of records that keeps the calls of a trial few.
func (tr *trial) several() int { return 1 + tr.rand.IntN(min(6*tr.pageLen(), 400)) }

func (tr *trial) file(visible time.Time, records ...json.RawMessage) {
	for _, r := range records {
		tr.filed[string(r)]++
	}
	tr.account.server.AddAt(tr.log.Name, visible, records...)
}

// spread files events of the past, before a reader starts.
func (tr *trial) spread(from time.Time, length time.Duration) {
	tr.file(from, tr.generator.Spread(from, from.Add(length), tr.several())...)
}

// burst files events of one millisecond, more than a page holds or fewer.
func (tr *trial) burst() {
	at := time.Now().Truncate(time.Millisecond)
	for i := range tr.several() {
		tr.file(at, tr.generator.At(at.Add(time.Duration(i%1000)*time.Microsecond)))
	}
}

// late files events that Duo shows later than it promises, within the overlap.
func (tr *trial) late() {
	at := time.Now()
	slack := 2*time.Minute + tr.window.Overlap
	if tr.punctual {
		slack = 1
	}
	for range 1 + tr.rand.IntN(5) {
		tr.file(at.Add(time.Duration(tr.rand.Int64N(int64(slack)))), tr.generator.At(at))
	}
}

// live files events as they happen.
func (tr *trial) live() {
	gap := time.Duration(1+tr.rand.IntN(20_000)) * time.Millisecond
	for range tr.several() {
		tr.file(time.Now(), tr.generator.At(time.Now()))
		time.Sleep(gap)
	}
}

// equal files events without an id that are equal in every byte.
func (tr *trial) equal() {
	if tr.log.Name == duotest.TrustMonitor {
		return // where an event is filed late, a position may bring one twice
	}
	at := time.Now().UTC()
	for range 1 + tr.rand.IntN(min(30, 3*tr.pageLen())) {
		tr.file(at, tr.odd(tr.log.Times[0], at.Format("2006-01-02T15:04:05.000000+00:00")))
	}
}

// timeless files events without a time.
func (tr *trial) timeless() {
	for range 1 + tr.rand.IntN(5) {
		tr.serial++
		tr.file(time.Now(), tr.odd(tr.log.ID, fmt.Sprint("timeless-", tr.serial)))
	}
}

func (tr *trial) odd(key, value string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"odd": true, %q: %q}`, key, value))
}

// fault plans trouble of a kind.
func (tr *trial) fault() {
	f := pick(tr.rand, []duotest.Fault{
		{Kind: duotest.FaultStatus}, {Kind: duotest.FaultStatus, Status: 503}, {Kind: duotest.FaultStatus, Status: 401}, {Kind: duotest.FaultStatus, Status: 404},
		{Kind: duotest.FaultFail}, {Kind: duotest.FaultHTML}, {Kind: duotest.FaultRedirect}, {Kind: duotest.FaultRateLimit}, {Kind: duotest.FaultHang},
		{Kind: duotest.FaultReset}, {Kind: duotest.FaultTruncate}, {Kind: duotest.FaultTruncate}, {Kind: duotest.FaultBroken}, {Kind: duotest.FaultBroken},
		{Kind: duotest.FaultSlow, Delay: time.Second}, {Kind: duotest.FaultGzip}, {Kind: duotest.FaultSameOffset},
		{Kind: duotest.FaultStatus, Status: 400, Match: func(c duotest.Call) bool { return c.Param("next_offset") != "" }},
		{Kind: duotest.FaultStatus, Status: 400, Match: func(c duotest.Call) bool { return c.Param("next_offset") != "" }},
	})
	f.Skip, f.N = tr.rand.IntN(4), 1+tr.rand.IntN(4)
	tr.account.server.Fault(f)
}

// clock moves the local clock, or sets it right. Where it is ahead and no
// answer says so, what Duo files late is not promised.
func (tr *trial) clock() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.ahead = pick(tr.rand, []time.Duration{0, 0, time.Second, -time.Minute, 10 * time.Minute, -time.Hour, 6 * time.Hour, -30 * 24 * time.Hour, 400 * 24 * time.Hour})
	if tr.dateless && !tr.punctual {
		tr.ahead = min(tr.ahead, 0)
	}
}

// crash stops the reader and starts another from the cursor that was stored
// last, or from an older one.
func (tr *trial) crash() {
	tr.stop()
	if tr.rand.IntN(2) == 0 {
		lost := min(len(tr.lineage), 1+tr.rand.IntN(4))
		tr.lineage = tr.lineage[:len(tr.lineage)-lost]
	}
	tr.resume()
}

// restart is a clean stop and a start with other options.
func (tr *trial) restart() {
	tr.stop()
	overlap := tr.window.Overlap
	tr.draw()
	// Events that were filed late under the longer overlap count on it.
	tr.window.Overlap = max(tr.window.Overlap, overlap)
	tr.resume()
}

func (tr *trial) resume() {
	cursor := tr.first
	if n := len(tr.lineage); n > 0 {
		cursor = duo.Cursor{}
		if err := json.Unmarshal(tr.lineage[n-1].cursor, &cursor); err != nil {
			tr.Fatalf("the stored cursor cannot be read: %v", err)
		}
	}
	tr.start(cursor)
}

func (tr *trial) start(cursor duo.Cursor) {
	p := &duo.Poller{
		Log: tr.log, Client: tr.account.client(), Window: tr.window, Cursor: cursor, Logger: slog.New(tr.logs), Deliver: tr.deliver,
	}
	ctx, cancel := context.WithCancel(tr.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	tr.stop = func() { cancel(); <-done }
	tr.Cleanup(tr.stop)
}

func (tr *trial) deliver(_ context.Context, records []duo.Record, c duo.Cursor) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	stored, err := json.Marshal(c)
	if err != nil {
		tr.Errorf("store the cursor: %v", err)
	}
	if len(c.Seen) > 20_000 {
		tr.Errorf("the cursor remembers %d records", len(c.Seen))
	}
	tr.lineage = append(tr.lineage, delivery{records, stored})
	for _, r := range records {
		if known, ok := tr.events[r.EventID]; ok && known != string(r.Raw) {
			tr.Errorf("event_id %s stands for two records:\n%s\n%s", r.EventID, known, r.Raw)
		}
		tr.events[r.EventID] = string(r.Raw)
	}
	return nil
}

// heal ends all trouble and waits until all is there, or too long.
func (tr *trial) heal() {
	tr.account.server.ClearFaults()
	tr.mu.Lock()
	tr.ahead = 0
	tr.mu.Unlock()
	// A hanging call ends after half a minute, and only the operator's errors
	// wait for five. Then each page may have to wait for the budget.
	calls := 10 + 2*len(tr.filedList())/tr.pageLen()
	deadline := time.Now().Add(2*time.Hour + time.Duration(calls)*90*time.Second)
	for time.Now().Before(deadline) && tr.missing() > 0 {
		time.Sleep(tr.window.PollInterval)
	}
}

// missing counts the records that were filed but not delivered.
func (tr *trial) missing() (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	count := maps.Clone(tr.filed)
	for _, d := range tr.lineage {
		for _, r := range d.records {
			count[string(r.Raw)]--
		}
	}
	for _, c := range count {
		n += max(c, 0)
	}
	return n
}

func (tr *trial) filedList() (all []string) {
	for r, n := range tr.filed {
		all = append(all, slices.Repeat([]string{r}, n)...)
	}
	return all
}

func (tr *trial) delivered() (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, d := range tr.lineage {
		n += len(d.records)
	}
	return n
}

// verify compares what was delivered with what was filed.
func (tr *trial) verify() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var got []string
	unique := map[string]bool{}
	for _, d := range tr.lineage {
		for _, r := range d.records {
			got = append(got, string(r.Raw))
			unique[r.EventID] = true
		}
	}
	if len(unique) != len(got) {
		tr.Errorf("%d records have %d event_ids", len(got), len(unique))
	}
	if len(tr.events) != len(unique) {
		tr.Errorf("%d records had %d event_ids when they were read more than once", len(unique), len(tr.events))
	}
	sameOnce(tr.T, tr.filedList(), got)
	if tr.Failed() {
		tr.explain(got)
	}
}

// explain says what a failed trial was like.
func (tr *trial) explain(got []string) {
	tr.Logf("%s, %+v, server %+v, total %q, dateless %v", tr.log.Name, tr.window, tr.config, tr.total, tr.dateless)
	left := map[string]int{}
	for r, n := range tr.filed {
		left[r] += n
	}
	for _, r := range got {
		left[r]--
	}
	shown := 0
	for r, n := range left {
		if n != 0 && shown < 5 {
			shown++
			tr.Logf("%+d times missing: %.300s", n, r)
		}
	}
	tr.Logf("log: %q", tr.logs.all())
}

// idle asserts that a log in which nothing happens is asked gently and that
// nothing comes again.
func (tr *trial) idle() {
	const polls = 30
	time.Sleep(tr.window.Overlap + 5*tr.window.PollInterval) // the last of what happened is read again
	before, delivered := len(tr.account.server.Calls()), tr.delivered()
	time.Sleep(polls * tr.window.PollInterval)
	if n := tr.delivered() - delivered; n != 0 {
		tr.Errorf("%d records came again from an idle log", n)
		tr.Logf("%s, %+v, server %+v, total %q", tr.log.Name, tr.window, tr.config, tr.total)
	}
	// What lies within the overlap of the newest record is read at each poll.
	var c duo.Cursor
	tr.mu.Lock()
	if n := len(tr.lineage); n > 0 {
		_ = json.Unmarshal(tr.lineage[n-1].cursor, &c)
	}
	tr.mu.Unlock()
	perPoll := len(c.Seen)/tr.pageLen() + 1
	if tr.log.Successor != "" {
		perPoll = len(c.Seen)/(tr.pageLen()*9/10) + 1
	}
	calls := tr.account.server.Calls()
	if n := len(calls) - before; len(calls) < 10_000 && n > polls*perPoll+5*(perPoll+1) {
		tr.Errorf("%d calls in %d polls of an idle log with %d records in the overlap and %d to a page", n, polls, len(c.Seen), tr.pageLen())
		tr.Logf("%s, %+v, server %+v, total %q, %+v", tr.log.Name, tr.window, tr.config, tr.total, calls[len(calls)-6:])
	}
}

// totals is a way of writing total_objects other than the server's own.
type totals string

var totalObjects = regexp.MustCompile(`"total_objects": (\d+|\{"relation": "eq", "value": \d+\})`)

func (s totals) rewrite(body []byte) []byte {
	with := map[totals]string{"absent": `"other": 1`, "too small": `"total_objects": 1`, "text": `"total_objects": "many"`}[s]
	if with == "" {
		return body
	}
	return totalObjects.ReplaceAll(body, []byte(with))
}

// gateway stands between a reader and Duo: it may take the Date out of answers
// and change their total_objects.
type gateway struct {
	http.RoundTripper
	trial *trial
}

func (g gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if g.trial.dateless {
		resp.Header.Del("Date")
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = io.EOF
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(g.trial.total.rewrite(body)), failing{err}))
	return resp, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
