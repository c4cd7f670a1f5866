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
//   - a service provider's child is served at its own host with its own account_id, and nowhere else;
//   - faults happen only where a test asked for them.
//
// It imports the standard library only and shares no code with the client that it tests. It leaves to others the
// judgement of what a client makes of an answer. All methods may be called from several goroutines at once.
package duotest

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net/http"
	"net/url"
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

	Budget       int           // calls allowed per account, log and BudgetWindow; 0: any number
	BudgetWindow time.Duration // default 1m
	BudgetKind   BudgetKind    // default TokenBucket
	CountRefused bool          // calls that were answered 429 use up budget too
	BudgetShared bool          // the logs of an account have one budget together, not one each

	PageCap        int    // pages hold at most this many records, whatever limit asks for; 0: as asked. Not for v1 logs, which have no limit
	Keep           int    // records kept per account and log, the oldest go first; 0: all
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

// Server is an http.Handler that answers like the log endpoints of Duo's Admin API and the list of its Accounts API.
type Server struct {
	*Account // the parent's own, without children the only one; but Calls and Count are of all accounts

	config Config

	mu         sync.Mutex // guards all that follows, and the accounts
	ikey, skey string
	children   []*Account          // in the order in which they came
	gone       map[string]*Account // by id, children that were removed
	cert       *tls.Certificate
	tls        *tls.Config // nil unless it was set
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
	s := &Server{config: config, ikey: config.IntegrationKey, skey: config.SecretKey, gone: map[string]*Account{}, history: history{counts: tally{}}}
	s.Account = newAccount(s, Child{Host: config.Host})
	return s
}

// SetKeys changes the keys that are expected, as a rotation in Duo's Admin Panel does: at once.
func (s *Server) SetKeys(integrationKey, secretKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ikey, s.skey = integrationKey, secretKey
}

// received is a call with what has been found out about it.
type received struct {
	method  string
	kind    kind
	params  url.Values
	account *Account // that the call asks for; nil: there is none of that id
	refused *answer  // nil: the signature is good
	call    Call
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := s.config.Now()
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	in := s.receive(w, r, now)
	fault := s.nextFault(in.call)
	in.call.Fault = fault.Kind
	// A call is remembered before its answer is sent, so that a client that has the answer finds the call.
	switch {
	case !pause(r.Context(), s.config.Latency):
		s.remember(in)
		panic(http.ErrAbortHandler)
	case fault.fixed():
		in.call.Status = fault.statusCode()
		s.remember(in)
		sendFixed(w, r, fault)
	default:
		a := s.answer(in, fault)
		in.call.Status, in.call.Code, in.call.Records = a.status, a.code, a.records
		s.remember(in)
		send(w, r, a, fault)
	}
}

// receive reads a call, and judges its signature and its address.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, now time.Time) received {
	sent := parameters(w, r)
	params, _ := url.ParseQuery(sent) // what cannot be read does not equal what was signed
	id := params.Get("account_id")
	at, wanted := s.route(r.Host, id)
	in := received{method: r.Method, kind: kindOf(r.URL.Path), params: params, account: wanted}
	in.call = Call{
		At: now, Log: in.kind.name, Host: r.Host, Account: id, Path: r.URL.Path, Query: sent, UserAgent: r.UserAgent(),
		// What asks for a child that is gone, at a host that is gone, is only late.
		Astray: wanted != at && (wanted != nil || at != s.Account),
	}
	host := r.Host // as it stands for a child that is gone, whose host is not known any more
	if wanted != nil {
		host = cmp.Or(at.Host, r.Host)
	}
	in.call.Signature, in.refused = s.verify(r, host, sent, now)
	return in
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

func forbidden(detail string) *answer {
	return failure(http.StatusForbidden, 40301, "Access forbidden", detail)
}

// answer decides in Duo's order: is it there, is it signed, may it be read, is there budget, are the parameters right.
func (s *Server) answer(in received, fault Fault) *answer {
	k, a, now, method := in.kind, in.account, in.call.At, http.MethodGet
	isList := in.call.Path == accountList
	if isList {
		method = http.MethodPost
	}
	switch {
	case k.name == "" && !isList:
		return failure(http.StatusNotFound, 40401, "Resource not found", "")
	case in.method != method:
		return failure(http.StatusMethodNotAllowed, 40501, "Method not allowed", "")
	case in.refused != nil:
		return in.refused
	case a == nil:
		return forbidden("There is no account of this account_id")
	case in.call.Astray:
		return forbidden("The account_id does not belong to this host")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case isList && a == s.Account:
		return s.listChildren()
	case isList:
		return forbidden("A child has no children")
	case a.retired[k.name] != 0:
		words := failCodes[a.retired[k.name]]
		return failure(a.retired[k.name], words.code, words.message, "")
	case a.forbidden[k.name]:
		return forbidden("The application has no permission to read this log")
	case !a.budgets[k.name].take(now):
		return failure(http.StatusTooManyRequests, 42901, "Too Many Requests", "")
	}
	w, bad := k.parseWindow(in.params, now, s.config)
	if bad != nil {
		return bad
	}
	if fault.Kind == FaultRewind {
		w.after, w.skip = nil, 0
	}
	j := a.journals[k.name]
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
