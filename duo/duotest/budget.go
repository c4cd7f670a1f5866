package duotest

import (
	"slices"
	"time"
)

// BudgetKind is how calls are counted. Duo does not say how it counts, so a client has to live with each of them.
type BudgetKind string

const (
	// TokenBucket begins full and refills evenly. With CountRefused a refused call takes what has been refilled so far.
	TokenBucket BudgetKind = "token bucket"
	// FixedWindow counts anew at each whole multiple of the window. CountRefused changes nothing.
	FixedWindow BudgetKind = "fixed window"
	// SlidingWindow counts the calls of the last window, at every moment. With CountRefused only silence restores it.
	SlidingWindow BudgetKind = "sliding window"
)

func (k BudgetKind) valid() bool {
	return slices.Contains([]BudgetKind{TokenBucket, FixedWindow, SlidingWindow}, k)
}

// budget counts the calls of one log, or of an account. It is not safe for concurrent use.
type budget struct {
	kind    BudgetKind
	size    int
	window  time.Duration
	refused bool // refused calls count

	tokens float64     // of TokenBucket
	filled time.Time   // when tokens was worked out
	calls  []time.Time // of the windows: the calls that count, at most size
}

func newBudget(config Config, now time.Time) *budget {
	return &budget{
		kind: config.BudgetKind, size: config.Budget, window: config.BudgetWindow, refused: config.CountRefused,
		tokens: float64(config.Budget), filled: now,
	}
}

// take says whether a call may go through, and counts it.
func (b *budget) take(now time.Time) bool {
	if b.size <= 0 {
		return true
	}
	if b.kind == TokenBucket {
		return b.takeToken(now)
	}
	b.calls = slices.DeleteFunc(b.calls, func(call time.Time) bool { return b.over(call, now) })
	allowed := len(b.calls) < b.size
	if allowed {
		b.calls = append(b.calls, now)
	} else if b.refused && b.kind == SlidingWindow {
		b.calls = append(b.calls[1:], now) // the latest ones decide, so this many are enough
	}
	return allowed
}

// resize changes how many calls are allowed. A bucket that holds more than that is full.
func (b *budget) resize(calls int) { b.size, b.tokens = calls, min(b.tokens, float64(calls)) }

func (b *budget) takeToken(now time.Time) bool {
	refill := float64(b.size) * float64(now.Sub(b.filled)) / float64(b.window)
	b.tokens = min(float64(b.size), b.tokens+max(refill, 0))
	b.filled = now
	// The tolerance is for the sum of many small refills: a call in time must not be refused for a rounding error.
	if b.tokens >= 1-1e-9 {
		b.tokens = max(b.tokens-1, 0)
		return true
	}
	if b.refused {
		b.tokens = 0
	}
	return false
}

// over says whether a call counts no more.
func (b *budget) over(call, now time.Time) bool {
	if b.kind == FixedWindow {
		return call.Truncate(b.window).Before(now.Truncate(b.window))
	}
	return !call.Add(b.window).After(now)
}
