// Package duotest is a Duo Admin API that behaves: a server for tests and demonstrations, as net/http/httptest is for plain HTTP.
//
// It promises to hold a client to Duo's rules, and to hide nothing behind good will:
//   - a request is served only with a fresh Date and a signature over exactly the bytes that were sent;
//   - a window's bounds are inclusive, its order is (millisecond, id), and next_offset is a search-after cursor, so that
//     every record which the rules show appears exactly once in a walk through a window, and none that they hide;
//   - records younger than the delay are not shown, records filed late are shown late, mintime is limited to 180 days,
//     and a call budget is enforced without saying when to come back;
//   - the v1 logs take seconds and have neither ids nor offsets: they show the earliest records of a mintime and no more, so
//     that a client has to go on at the last one's second. The delay, which is documented for v2, does not hide their records;
//   - trust_monitor counts positions: an event that is filed between two pages of a walk moves what stands behind it;
//   - faults happen only where a test asked for them.
//
// It imports the standard library only and shares no code with the client that it tests. It leaves to others the
// judgement of what a client makes of an answer. All methods may be called from several goroutines at once.
package duotest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The keys that a server expects unless its Config says otherwise. They open nothing.
const (
	IntegrationKey = "DITESTTESTTESTTESTTE"
	SecretKey      = "test-secret-that-opens-no-door-000000000"
)

// Retention is how far back mintime may lie.
const Retention = 180 * 24 * time.Hour

// Config says how a server behaves. The zero value is Duo as it is documented.
type Config struct {
	IntegrationKey, SecretKey string           // default: the constants of these names
	Host                      string           // what clients sign as host, with the port if there is one; default: the request's Host header
	Names                     []string         // further host names or IP addresses that the server's certificate is good for
	Now                       func() time.Time // default time.Now
	Delay                     time.Duration    // records younger than this are not shown, but in the v1 logs; default 2m, negative: none
	MaxSkew                   time.Duration    // how far a Date header may be off; default 5m, negative: any
	Latency                   time.Duration    // wait before every answer

	Budget       int           // calls allowed per log and BudgetWindow; 0: any number
	BudgetWindow time.Duration // default 1m
	BudgetKind   BudgetKind    // default TokenBucket
	CountRefused bool          // calls that were answered 429 use up budget too

	PageCap        int    // pages hold at most this many records, whatever limit asks for; 0: as asked. Not for v1 logs, which have no limit
	Keep           int    // records kept per log, the oldest go first; 0: all
	OffsetEnd      string // next_offset at the end: "null" (default, but for trust_monitor), "empty", "list" or "missing"
	OffsetAlone    bool   // mintime is not applied beside next_offset
	MetadataBeside bool   // metadata stands beside response, not inside it
	TotalAsObject  bool   // total_objects is {"relation": "eq", "value": N}, not N

	V1Page      int  // records in a page of the v1 logs; default 1000
	V1Exclusive bool // the v1 logs show what is later than mintime, not what is of that second too
	V1Newest    bool // the v1 logs list a page newest first; it still holds the earliest records
	TrustNewest bool // trust_monitor shows the newest events first
	TrustText   bool // next_offset of trust_monitor is opaque text, not a number

	OnCall   func(Call)  // called with each call before its answer is sent, from the goroutine that serves it
	ErrorLog *log.Logger // receives failed TLS handshakes and the like; default: nothing
}

// Server is an http.Handler that answers like the log endpoints of Duo's Admin API.
type Server struct {
	config Config

	mu         sync.Mutex // guards all that follows
	ikey, skey string
	journals   map[string]*journal
	budgets    map[string]*budget
	forbidden  map[string]bool
	retired    map[string]int // status by log
	faults     []*Fault
	history    history
}

// New returns a server without records. It does not listen yet: see StartTLS, Listen and Pipe. A value of OffsetEnd or
// BudgetKind that does not exist is a mistake in the test, and panics.
func New(config Config) *Server {
	config.IntegrationKey = cmp.Or(config.IntegrationKey, IntegrationKey)
	config.SecretKey = cmp.Or(config.SecretKey, SecretKey)
	config.Delay = cmp.Or(config.Delay, 2*time.Minute)
	config.MaxSkew = cmp.Or(config.MaxSkew, 5*time.Minute)
	config.BudgetWindow = cmp.Or(config.BudgetWindow, time.Minute)
	config.BudgetKind = cmp.Or(config.BudgetKind, TokenBucket)
	config.V1Page = cmp.Or(config.V1Page, 1000)
	if config.Now == nil {
		config.Now = time.Now
	}
	if _, ok := offsetEnds[config.OffsetEnd]; !ok && config.OffsetEnd != "" {
		panic(fmt.Sprintf("duotest: OffsetEnd %q: want null, empty, list or missing", config.OffsetEnd))
	}
	if !config.BudgetKind.valid() {
		panic(fmt.Sprintf("duotest: BudgetKind %q: want one of the package's constants", config.BudgetKind))
	}
	s := &Server{
		config:    config,
		ikey:      config.IntegrationKey,
		skey:      config.SecretKey,
		journals:  map[string]*journal{},
		budgets:   map[string]*budget{},
		forbidden: map[string]bool{},
		retired:   map[string]int{},
		history:   history{counts: map[string]Counts{}},
	}
	for _, k := range kinds {
		s.journals[k.name] = &journal{kind: k, keep: config.Keep}
		s.budgets[k.name] = newBudget(config, config.Now())
	}
	return s
}

// Add files records that Duo shows once they are older than the delay, in the v1 logs at once. Time and id are read from the record itself; one
// without a readable time is filed under the present, one without an id is served all the same. The bytes are served as
// they are and must not be changed afterwards. Add panics on a log that does not exist and on what is no JSON object.
func (s *Server) Add(log string, records ...json.RawMessage) {
	s.AddAt(log, time.Time{}, records...)
}

// AddAt files records that are shown from at on, and not before Add would show them: events that Duo files
// late. A record without a readable time is filed under at.
func (s *Server) AddAt(log string, at time.Time, records ...json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.journal(log)
	fallback := at
	if at.IsZero() {
		fallback = s.config.Now()
	}
	entries := make([]entry, len(records))
	for i, raw := range records {
		entries[i] = j.kind.read(raw, fallback)
	}
	if at.IsZero() {
		j.file(entries)
	} else {
		j.hold(at, entries)
	}
}

// Len returns how many records of the log the server holds, shown or not.
func (s *Server) Len(log string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.journal(log)
	return len(j.entries) + len(j.held)
}

// IDs returns the ids of the log's records in the order (millisecond, id), shown or not, "" for a record without one.
func (s *Server) IDs(log string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal(log).ids()
}

// Records returns the log's records in the order (millisecond, id, as added), shown or not. Those of the v1 logs have no id,
// and are told apart by nothing else: equal ones are as many as were added.
func (s *Server) Records(log string) []json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := []json.RawMessage{}
	for _, e := range s.journal(log).all() {
		records = append(records, e.raw)
	}
	return records
}

// SetPermission grants or withdraws the right to read a log; without it the log answers 403 40301.
func (s *Server) SetPermission(log string, allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forbidden[s.journal(log).kind.name] = !allowed
}

// Retire makes a log answer as one that Duo has ended, or that the account's edition lacks: with Duo's body for that status,
// 403, 404 or 410. Status 0 brings it back. Any other status panics.
func (s *Server) Retire(log string, status int) {
	if !slices.Contains([]int{0, http.StatusForbidden, http.StatusNotFound, http.StatusGone}, status) {
		panic(fmt.Sprintf("duotest: status %d of a retired log: want 403, 404, 410 or 0", status))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired[s.journal(log).kind.name] = status
}

// SetKeys changes the keys that are expected, as a rotation in Duo's Admin Panel does: at once.
func (s *Server) SetKeys(integrationKey, secretKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ikey, s.skey = integrationKey, secretKey
}

func (s *Server) journal(log string) *journal {
	if j := s.journals[log]; j != nil {
		return j
	}
	panic(fmt.Sprintf("duotest: log %q: want one of %q", log, AllLogs()))
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := s.config.Now()
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	k := kindOf(r.URL.Path)
	call := Call{At: now, Log: k.name, Path: r.URL.Path, Query: r.URL.RawQuery, UserAgent: r.UserAgent()}
	signature, refused := s.verify(r, now)
	call.Signature = signature
	fault := s.nextFault(call)
	call.Fault = fault.Kind
	// A call is remembered before its answer is sent, so that a client that has the answer finds the call.
	switch {
	case !pause(r.Context(), s.config.Latency):
		s.remember(call)
		panic(http.ErrAbortHandler)
	case fault.fixed():
		call.Status = fault.statusCode()
		s.remember(call)
		sendFixed(w, r, fault)
	default:
		a := s.answer(r, k, now, fault, refused)
		call.Status, call.Code, call.Records = a.status, a.code, a.records
		s.remember(call)
		send(w, r, a, fault)
	}
}

// answer is what goes back to the client: its status, its body, and for the history Duo's code and the number of records.
type answer struct {
	status, code, records int
	body                  []byte
}

// failure returns Duo's body for an error; an empty detail is left out.
func failure(status, code int, message, detail string) *answer {
	body := object{{"code", code}, {"message", message}, {"message_detail", detail}, {"stat", "FAIL"}}
	if detail == "" {
		body.set("message_detail", absent{})
	}
	return &answer{status: status, code: code, body: appendJSON(nil, body)}
}

// answer decides in Duo's order: is it there, is it signed, may it be read, is there budget, are the parameters right.
func (s *Server) answer(r *http.Request, k kind, now time.Time, fault Fault, refused *answer) *answer {
	switch {
	case k.name == "":
		return failure(http.StatusNotFound, 40401, "Resource not found", "")
	case r.Method != http.MethodGet:
		return failure(http.StatusMethodNotAllowed, 40501, "Method not allowed", "")
	case refused != nil:
		return refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if status := s.retired[k.name]; status != 0 {
		words := failCodes[status]
		return failure(status, words.code, words.message, "")
	}
	if s.forbidden[k.name] {
		return failure(http.StatusForbidden, 40301, "Access forbidden", "The application has no permission to read this log")
	}
	if !s.budgets[k.name].take(now) {
		return failure(http.StatusTooManyRequests, 42901, "Too Many Requests", "")
	}
	w, bad := k.parseWindow(r.URL.Query(), now, s.config)
	if bad != nil {
		return bad
	}
	if fault.Kind == FaultRewind {
		w.after, w.skip = nil, 0
	}
	j := s.journals[k.name]
	j.release(now)
	page := j.read(w, s.config)
	if fault.Kind == FaultSameOffset {
		page.last, page.position = w.after, w.skip
	}
	return &answer{status: http.StatusOK, records: len(page.records), body: page.body(k, s.config)}
}

// pause waits, and says whether the client did too.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
