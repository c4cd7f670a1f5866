package duo

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// Outcome is how a call of a log ended.
type Outcome int

// The outcomes of a call.
const (
	OK          Outcome = iota // a page
	Limited                    // HTTP 429
	Rejected                   // 400
	Denied                     // 401, 403
	Missing                    // 404, 410
	Unavailable                // any other status, no answer, or one that is no page
	outcomes
)

// outcomeOf names what a failed call came to.
func outcomeOf(err error) Outcome {
	var limit *RateLimitError
	var api *APIError
	switch {
	case errors.As(err, &limit):
		return Limited
	case !errors.As(err, &api):
		return Unavailable
	}
	switch api.Status {
	case http.StatusBadRequest:
		return Rejected
	case http.StatusUnauthorized, http.StatusForbidden:
		return Denied
	case http.StatusNotFound, http.StatusGone:
		return Missing
	}
	return Unavailable
}

// Counts is what a [Poller] has come to so far.
type Counts struct {
	Calls       [outcomes]uint64 // by Outcome
	Duplicates  uint64           // records that were known, and were dropped
	Late        uint64           // records that Duo filed later than the overlap
	Pace        time.Duration    // found time from one call to the next while catching up; 0: none
	LastSuccess time.Time        // of the last page, by the local clock; zero: none yet
	Behind      time.Duration    // how far Duo's clock is behind ours, if it is
	Up          bool             // the last call brought a page
}

// Stats holds a stream's Counts: a Poller writes them, any goroutine may read
// them, and a Poller that takes over from another goes on with them. Nil holds
// none.
type Stats struct {
	mu     sync.Mutex // held for no longer than it takes to copy Counts
	counts Counts
}

// Counts returns what has been counted.
func (s *Stats) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// note changes the counts.
func (s *Stats) note(change func(*Counts)) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}
