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
	Path      string
	Query     string // as it was sent
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

// history keeps the last calls in a ring. It is not safe for concurrent use.
type history struct {
	ring   []Call
	next   int
	counts map[string]Counts // by log
}

func (h *history) add(c Call) {
	if len(h.ring) < historySize {
		h.ring = append(h.ring, c)
	} else {
		h.ring[h.next] = c
	}
	h.next = (h.next + 1) % historySize
	n := h.counts[c.Log]
	if n.Status == nil {
		n.Status = map[int]int{}
	}
	n.Calls++
	n.Records += c.Records
	n.Status[c.Status]++
	h.counts[c.Log] = n
}

// remember notes a call that is about to be answered.
func (s *Server) remember(c Call) {
	s.mu.Lock()
	s.history.add(c)
	s.mu.Unlock()
	if s.config.OnCall != nil {
		s.config.OnCall(c)
	}
}

// Calls returns the calls in the order in which they were answered, or met a fault that does not answer; of more than
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

// Count returns the totals of one log; those of "" are of calls to paths that are no log's.
func (s *Server) Count(log string) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.history.counts[log]
	n.Status = maps.Clone(n.Status)
	return n
}
