package duo

import (
	"errors"
	"fmt"
	"time"
)

// APIError is an answer of Duo, or of something in front of it, that is not a
// page: an HTTP status other than 200, or stat FAIL.
type APIError struct {
	Status   int       // HTTP status; for stat FAIL within a 200 the one that Code stands for
	Code     int       // Duo's own code such as 40103; 0 if there was none
	Message  string    // Duo's message, or what was odd about the answer
	Detail   string    // Duo's message_detail
	Date     time.Time // of the answer, zero if it had none
	Sent     time.Time // when the call was made, by the local clock
	Location string    // where a redirect pointed
}

func (e *APIError) Error() string {
	s := fmt.Sprintf("HTTP %d", e.Status)
	if e.Code != 0 {
		s += fmt.Sprintf(", code %d", e.Code)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// RateLimitError is Duo's 429, code 42901: too many calls.
type RateLimitError struct {
	RetryAfter time.Duration // 0 when Duo did not say, which is the rule
}

func (e *RateLimitError) Error() string { return "HTTP 429: too many requests" }

var (
	// ErrTooLarge is returned for an answer beyond the limit of a body, or with
	// more records than anybody asks for.
	ErrTooLarge = fmt.Errorf("the answer is larger than %d MiB, or has more than %d records", maxBody>>20, maxRecords)
	// ErrNotPage is returned for an answer that cannot be read as a page.
	ErrNotPage = errors.New("the answer is not a page of records")
	// ErrPaging is returned for a page that leads nowhere: the same
	// next_offset again, or records before those of the page before.
	ErrPaging = errors.New("paging does not go on")
)
