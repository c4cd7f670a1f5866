package duo

import (
	"encoding/json"
	"math"
	"time"
)

const (
	// paceMinute is the unit of a pace: Duo's limits are told in calls a minute.
	paceMinute = float64(time.Minute)
	// paceMargin keeps calls below the limit: by so much a minute's worth of them
	// lasts longer than a minute, which covers paceSlack and the network.
	paceMargin = 1.02
	// paceSlack is what a late call may make up, whatever the pace.
	paceSlack = 500 * time.Millisecond
	// paceHold is how long a pace is kept until a faster one is tried, which where
	// the limit is as it was costs a pause of a minute. A third of it, while it is
	// not known well.
	paceHold = 9 * time.Minute
	// paceRuns is how many calls that takes at least: a 429 should be rare among them.
	paceRuns = 45
	// paceStep is how long each faster pace is tried: a whole minute of Duo's clock
	// and a half, and four calls of that pace at least.
	paceStep, paceStepRuns = 90 * time.Second, 6
	// paceFirst and paceMore are how much faster the first try is, and each further one.
	paceFirst, paceMore = 1.1, 1.6
	// paceSteps bounds the tries.
	paceSteps = 20
	// paceLeast and paceMost bound a limit, in calls a minute.
	paceLeast, paceMost = 1, 100_000
	// paceCalls bounds the calls that are remembered.
	paceCalls = 2000
	// paceFree is after how long without a call that it held up a pace is forgotten.
	paceFree = 30 * time.Minute
	// paceAge is when a stored pace is no longer held without a try.
	paceAge = 24 * time.Hour
)

// FoundPace is what has been found out about the limit of a log's calls, which
// Duo does not tell, in calls a minute. It is stored with the cursor, so that a
// restart does not run into the limit again.
type FoundPace struct {
	Limit   float64 `json:"limit"`             // what the calls keep to; 0: none was met
	Proven  float64 `json:"proven,omitempty"`  // a limit that was kept to for long without a 429
	Refuted float64 `json:"refuted,omitempty"` // one that was kept to and met a 429 nonetheless
	At      Millis  `json:"at"`                // when Limit was found
}

// UnmarshalJSON reads what was stored. What cannot be is none: it costs a 429,
// and is no reason to refuse a cursor.
func (f *FoundPace) UnmarshalJSON(b []byte) error {
	type plain FoundPace
	var p plain
	if err := json.Unmarshal(b, &p); err != nil || !(p.Limit >= paceLeast && p.Limit <= paceMost) {
		*f = FoundPace{}
		return nil
	}
	within := func(rate float64) float64 { return min(max(rate, 0), paceMost) }
	p.Proven, p.Refuted = within(p.Proven), within(p.Refuted)
	*f = FoundPace(p)
	return nil
}

// pace says when calls may start, from start to start: at once until Duo limits
// them, then evenly, just below the limit as it is estimated. The methods are
// told what happens and when; nothing here looks at a clock.
//
// How Duo counts is not known, so the estimate fits each way that is usual. A
// pause of a minute follows each 429, after which all of them begin afresh. For
// calls that were counted by the minute, those that went through in the last one
// are the limit; a bucket that was full held as many as flow into it in a minute,
// so that what went through since is the limit for one minute more than that
// took. Where these differ, the faster one is tried first: a bucket loses nothing
// by it, and to wait for the other would take longer.
//
// When a pace was kept to for a while, faster ones are tried, each for long enough
// to meet a limit: so one that was raised is found, and of one that was not, a
// pause every ten minutes is the price. Streams that share a limit meet it in
// proportion to their shares of it, and so come to equal ones.
type pace struct {
	found FoundPace
	held  time.Duration // how long calls have kept to it
	last  time.Time     // start of the last call
	due   time.Time     // when the next one may start
	good  []time.Time   // starts of the good calls of the minute before last, or of the latest three
	since time.Time     // first call since Duo had its full limit to give
	run   int           // good calls since
	bound time.Time     // when it last held a call up, or was found
	tries bool          // a faster pace is tried
	first bool          // found is the first estimate
	went  bool          // a call went through since the last 429
}

// resume takes up what was stored.
func (p *pace) resume(f *FoundPace, now time.Time) {
	if f == nil || f.Limit == 0 {
		return
	}
	p.found = *f
	if age := now.Sub(f.At.Time()); age < 0 || age > paceAge {
		p.held = p.hold()
	}
}

// store is what is to be stored, nil if nothing was found.
func (p *pace) store() *FoundPace {
	if p.found.Limit == 0 {
		return nil
	}
	f := p.found
	return &f
}

// hold is how long the pace is kept until a faster one is tried.
func (p *pace) hold() time.Duration {
	f := p.found
	least, runs := paceHold, paceRuns/max(f.Limit, 1)
	if p.first {
		return paceHold / 3 // who called before may have used up most of it
	}
	if f.Refuted == 0 || f.Refuted > 1.25*f.Limit+1 {
		// Nothing just above it was refuted, so that it may be well below the limit.
		least, runs = paceHold/3, runs*2/3
	}
	return max(least, time.Duration(runs*paceMinute))
}

// step is the number of the faster pace that is tried, 0 for none.
func (p *pace) step() int {
	n := 0
	for over := p.held - p.hold(); over >= 0 && n < paceSteps; n++ {
		over -= max(paceStep, time.Duration(paceStepRuns/p.tried(n+1)*paceMinute))
	}
	return n
}

// tried is the n-th faster pace, in calls a minute.
func (p *pace) tried(n int) float64 {
	// A limit is most likely a whole number: less than one call more is none.
	rate := p.found.Limit / paceMargin
	return max(rate*paceFirst, min(rate+1, rate*1.5)) * math.Pow(paceMore, float64(n-1))
}

// rate is the pace in calls a minute, 0 for any.
func (p *pace) rate() float64 {
	rate := p.found.Limit / paceMargin
	if n := p.step(); n > 0 {
		rate = p.tried(n)
	}
	return min(rate, paceMost)
}

// gap is the time from one call's start to the next one's.
func (p *pace) gap() time.Duration {
	if p.found.Limit == 0 {
		return 0
	}
	return time.Duration(paceMinute / p.rate())
}

// start notes that a call starts.
func (p *pace) start(now time.Time) {
	if p.bound.IsZero() {
		p.bound = now
	}
	if now.Sub(p.bound) > paceFree {
		// It is that of a log with few calls, most likely: these say little of a limit.
		p.found, p.first, p.tries, p.held = FoundPace{}, false, false, 0
	}
	gap := p.gap()
	if p.since.IsZero() || now.Sub(p.last) > max(time.Minute, 2*gap) {
		p.since, p.run = now, 0
	}
	if gap > 0 {
		// Only what the pace held up says something of it.
		if !p.last.IsZero() && now.Sub(p.due) < max(gap/4, paceSlack) {
			p.held += min(now.Sub(p.last), 2*gap)
			p.bound = now
		}
		switch n := p.step(); {
		case n > 0 && !p.tries:
			// It was kept to; what Duo had in store is unused.
			p.tries, p.found.Proven = true, p.found.Limit
			p.since, p.run = now, 0
		case n > 1 && p.rate()/paceMore > 0.99*p.found.Refuted:
			p.found.Refuted = 0 // the step before went well
		}
		from := now
		if !p.due.IsZero() {
			from = later(p.due, now.Add(-paceSlack))
		}
		p.due = from.Add(p.gap())
	}
	p.last = now
}

// ok notes that the call that was started last was a good one.
func (p *pace) ok() {
	p.run++
	p.went = true
	p.good = append(p.good, p.last)
	p.trim()
}

// trim forgets calls that do not count any more.
func (p *pace) trim() {
	for len(p.good) > paceCalls || len(p.good) > 3 && p.last.Sub(p.good[0]) >= time.Minute {
		p.good = p.good[1:]
	}
}

// limited notes that Duo refused the call that was started last, and that the
// next one is to wait until a time.
func (p *pace) limited(until time.Time) {
	p.trim()
	if p.went {
		// If nothing went through since the last 429, this one says nothing of a pace.
		found := p.estimate()
		p.found, p.first = found, p.found.Limit == 0
		p.found.At = ToMillis(p.last)
	}
	p.held, p.tries, p.went, p.since, p.run = 0, false, false, time.Time{}, 0
	p.due = later(until, p.last.Add(p.gap()))
	p.bound = p.due
}

// estimate is what a refusal says of the limit.
func (p *pace) estimate() FoundPace {
	f, recent := p.found, p.recent()
	// By a bucket that was full.
	bucket := float64(p.run) / (1 + p.last.Sub(p.since).Minutes())
	switch step := p.step(); {
	case f.Limit == 0:
		f.Limit = max(recent, 1)
	case step == 1:
		// The limit is as it was, or only a little higher: by what went through, where
		// that is enough to tell a few percent.
		if f.Refuted == 0 || f.Refuted > p.rate() {
			f.Refuted = p.rate()
		}
		if f.Limit >= 20 && recent > 1.02*f.Limit && f.Refuted > 1.06*f.Limit {
			f.Limit = min(recent, math.Sqrt(f.Limit*f.Refuted))
		}
	case step > 1:
		// It is higher. What was refuted before is not tried again.
		if f.Refuted > 0 && recent > 0.97*f.Refuted {
			recent = math.Sqrt(f.Limit * f.Refuted)
		}
		f.Limit = max(f.Limit, recent)
	case recent < 0.9*f.Limit:
		// It has fallen, or others take a part of it.
		if p.run < 3 {
			recent = max(recent, 0.7*f.Limit) // too few to tell
		}
		f.Limit, f.Proven, f.Refuted = recent, 0, 0
	default:
		// It was kept to: so it is lower, but not lower than what was proven, unless
		// it has changed since or that is what was refused.
		f.Refuted = f.Limit
		f.Limit = min(math.Sqrt(bucket*f.Limit), 0.95*f.Limit)
		switch {
		case f.Proven >= 0.99*f.Refuted || f.Proven == 0:
			f.Proven, f.Limit = 0, max(f.Limit, f.Refuted/2)
		case f.Limit < 1.1*f.Proven:
			f.Limit = f.Proven
		}
	}
	f.Limit = min(max(f.Limit, paceLeast), paceMost)
	return f
}

// recent is how many calls a minute went through of late.
func (p *pace) recent() float64 {
	if len(p.good) == 0 {
		return 0
	}
	return float64(len(p.good)) / max(time.Minute, p.last.Sub(p.good[0])).Minutes()
}

// wait is how long it is until the next call may start.
func (p *pace) wait(now time.Time) time.Duration { return max(p.due.Sub(now), 0) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
