package duotest

import (
	"maps"
	"net/url"
	"slices"
	"time"
)

// historySize is how many calls a server remembers; it counts all of them.
const historySize = 10_000

// Call is what a server saw and answered.
type Call struct {
	At        time.Time
	Log       string // "" for a path that is no log's
	Host      string // the header
	Account   string // account_id, "" if it was not sent
	Astray    bool   // the account_id is not that of the host's account: a mistake of the client
	Path      string
	Query     string // as it was sent; of a POST, the form
	UserAgent string
	Signature string    // "sha1" or "sha512", "" for one that is wrong or missing
	Fault     FaultKind // the fault that this call met, if any
	Status    int       // 0: no answer, see Fault
	Code      int       // Duo's code of an error that no fault made
	Records   int       // in the page
}

// Param returns a parameter of the call, "" if it was not sent.
func (c Call) Param(name string) string {
	values, _ := url.ParseQuery(c.Query)
	return values.Get(name)
}

// Counts are totals since the server was made.
type Counts struct {
	Calls   int
	Records int         // in the pages that were answered
	Status  map[int]int // calls by status, 0 for those that got no answer
}

// tally is the counts of each log.
type tally map[string]Counts

func (t tally) add(c Call) {
	n := t[c.Log]
	if n.Status == nil {
		n.Status = map[int]int{}
	}
	n.Calls++
	n.Records += c.Records
	n.Status[c.Status]++
	t[c.Log] = n
}

// of returns a copy of one log's counts.
func (t tally) of(log string) Counts {
	n := t[log]
	n.Status = maps.Clone(n.Status)
	return n
}

// history keeps the last calls in a ring. It is not safe for concurrent use.
type history struct {
	ring   []Call
	next   int
	counts tally
}

func (h *history) add(c Call) {
	if len(h.ring) < historySize {
		h.ring = append(h.ring, c)
	} else {
		h.ring[h.next] = c
	}
	h.next = (h.next + 1) % historySize
	h.counts.add(c)
}

// remember notes a call that is about to be answered.
func (s *Server) remember(in received) {
	s.mu.Lock()
	s.history.add(in.call)
	if in.account != nil {
		in.account.counts.add(in.call)
	}
	s.mu.Unlock()
	if s.config.OnCall != nil {
		s.config.OnCall(in.call)
	}
}

// Calls returns the calls of all accounts in the order in which they were answered, or met a fault that does not answer; of more than
// 10,000 only the last.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.history
	if len(h.ring) < historySize {
		return slices.Clone(h.ring)
	}
	return slices.Concat(h.ring[h.next:], h.ring[:h.next])
}

// Count returns the totals of one log of all accounts; those of "" are of calls to paths that are no log's.
func (s *Server) Count(log string) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history.counts.of(log)
}

// Calls returns those of Server.Calls that asked for this account.
func (a *Account) Calls() []Call {
	return slices.DeleteFunc(a.server.Calls(), func(c Call) bool { return c.Account != a.ID })
}

// Count returns the totals of one log of this account; those of "" are of calls to paths that are no log's.
func (a *Account) Count(log string) Counts {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	return a.counts.of(log)
}
