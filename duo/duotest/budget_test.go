package duotest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBudget calls at given seconds and writes down which calls are allowed: + yes, - no.
func TestBudget(t *testing.T) {
	tests := []struct {
		name    string
		kind    BudgetKind
		refused bool
		seconds []int
		want    string
	}{
		{"bucket", TokenBucket, false, []int{0, 0, 0, 29, 30, 31, 60, 240, 240, 240}, "++--+-+++-"},
		{"bucket, refused ones count", TokenBucket, true, []int{0, 0, 0, 29, 30, 59, 90}, "++----+"},
		{"fixed", FixedWindow, false, []int{50, 59, 59, 60, 60, 60, 119, 120}, "++-++--+"},
		{"fixed, refused ones count", FixedWindow, true, []int{50, 59, 59, 60}, "++-+"},
		{"sliding", SlidingWindow, false, []int{0, 30, 59, 60, 61, 89, 90}, "++-+--+"},
		{"sliding, refused ones count", SlidingWindow, true, []int{0, 30, 59, 60, 90, 119, 180}, "++----+"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			minute := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			b := newBudget(Config{Budget: 2, BudgetWindow: time.Minute, BudgetKind: test.kind, CountRefused: test.refused}, minute)
			var got strings.Builder
			for _, second := range test.seconds {
				got.WriteString(map[bool]string{true: "+", false: "-"}[b.take(minute.Add(time.Duration(second)*time.Second))])
			}
			if got.String() != test.want {
				t.Errorf("at %v: %s, want %s", test.seconds, got.String(), test.want)
			}
			if len(b.calls) > 2 {
				t.Errorf("%d calls are kept, want at most 2", len(b.calls))
			}
		})
	}
}

// TestBudgetRefillsToTheSecond calls exactly as fast as the budget allows.
func TestBudgetRefillsToTheSecond(t *testing.T) {
	for _, size := range []int{1, 2, 7, 10, 50, 600} {
		b := newBudget(Config{Budget: size, BudgetWindow: time.Minute, BudgetKind: TokenBucket}, epoch)
		for range size {
			b.take(epoch)
		}
		interval := time.Minute / time.Duration(size)
		for i := 1; i <= 3*size; i++ {
			// Divisions round down, so the last nanoseconds are given.
			if !b.take(epoch.Add(time.Duration(i) * (interval + 1))) {
				t.Errorf("budget %d: call %d at %v was refused", size, i, interval)
				break
			}
		}
	}
}

// TestBudgetOfEachLog asserts that logs have budgets of their own, and what a refusal looks like.
func TestBudgetOfEachLog(t *testing.T) {
	s := New(frozen(Config{Budget: 2}))
	window := between(epoch.Add(-time.Hour), epoch)
	var got []int
	for _, log := range []string{Activity, Activity, Activity, Telephony} {
		w := ask(s, log, window...)
		got = append(got, w.Code)
		if w.Code == http.StatusTooManyRequests && (w.Header().Get("Retry-After") != "" || !strings.Contains(w.Body.String(), `"code": 42901`)) {
			t.Errorf("refusal with Retry-After %q: %s", w.Header().Get("Retry-After"), w.Body)
		}
	}
	if want := "[200 200 429 200]"; fmt.Sprint(got) != want {
		t.Errorf("statuses %v, want %s", got, want)
	}
}

// TestSharedBudget asserts that logs can have one budget together, and that it can change: a bucket that was emptied stays so,
// one that holds too much is cut.
func TestSharedBudget(t *testing.T) {
	s := New(frozen(Config{Budget: 3, BudgetShared: true}))
	window := between(epoch.Add(-time.Hour), epoch)
	ask3 := func() (got []int) {
		for _, log := range []string{Activity, Telephony, Authentication} {
			got = append(got, ask(s, log, window...).Code)
		}
		return got
	}
	s.SetBudget(2)
	if want, got := "[200 200 429]", fmt.Sprint(ask3()); got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
	s.SetBudget(9)
	if want, got := "[429 429 429]", fmt.Sprint(ask3()); got != want {
		t.Errorf("after the change %s, want %s", got, want)
	}
}
