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
	// the limit is as it was costs a pause of a minute.
	paceHold = 9 * time.Minute
	// paceRuns is how many calls that takes at least: a 429 should be rare among
	// them. Where others use the limit too, most come of their calls, and who has
	// least of it would wait longest for more.
	paceRuns, paceRunsShared = 36, 12
	// paceStep is how long the first faster pace is tried: a whole minute of Duo's
	// clock and a half. Each further one, where more is at stake, is tried for
	// paceStepLess less, down to a minute; all of them for paceStepRuns calls at least.
	paceStep, paceStepLess, paceStepRuns = 90 * time.Second, 6 * time.Second, 6
	// paceMore is by how much each further step is larger than the one before.
	paceMore = 2
	// paceBack is what is left of a pace that is refused although it is kept to, and
	// paceGive of one that was to be raised, where others use the limit too. Less of
	// it costs more of the limit than it gains in fairness.
	paceBack, paceGive = 0.8, 0.85
	// paceFell is below which share of the pace what went through says that the limit
	// has fallen, paceFew what is left of it at least after too few calls to tell.
	paceFell, paceFew = 0.9, 0.7
	// paceDown is what is left at most of a faster pace that proves too fast.
	paceDown = 0.95
	// paceShared is how long a sign of others counts. A limit that fell gives one too.
	paceShared = 2 * time.Hour
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
	Limit  float64 `json:"limit"`            // what the calls keep to; 0: none was met
	Proven float64 `json:"proven,omitempty"` // a limit that was kept to for long without a 429
	At     Millis  `json:"at"`               // when Limit was found
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
	p.Proven = min(max(p.Proven, 0), paceMost)
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
// pause every ten minutes is the price.
//
// Streams that share a limit come to equal shares as connections on the Internet
// do (Chiu and Jain, 1989): each tries as much more as any other, in calls a
// minute, and gives up a part of what it has when it is refused. One that keeps to
// its pace is refused because of another's try: it slows down, but that does not
// put off its own try, which who has least needs most.
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
	went  bool          // a call went through since the last 429
	other time.Time     // when it was last seen that others use the limit too
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

// store is what is to be stored, nil if nothing was found. While faster paces are
// tried it is the one before, which went well.
func (p *pace) store() *FoundPace {
	if p.found.Limit == 0 {
		return nil
	}
	f := p.found
	if n := p.step(); n > 1 {
		f.Limit = min(p.tried(n-1), paceMost)
	}
	return &f
}

// hold is how long the pace is kept until a faster one is tried.
func (p *pace) hold() time.Duration {
	runs := paceRuns
	if p.shared() {
		runs = paceRunsShared
	}
	return max(paceHold, time.Duration(float64(runs)/max(p.found.Limit, 1)*paceMinute))
}

// shared reports whether others use the limit too, as far as was seen.
func (p *pace) shared() bool { return !p.other.IsZero() && p.last.Sub(p.other) < paceShared }

// step is the number of the faster pace that is tried, 0 for none.
func (p *pace) step() int {
	n := 0
	for over := p.held - p.hold(); over >= 0 && n < paceSteps; n++ {
		over -= max(paceStep-time.Duration(n)*paceStepLess, time.Minute, time.Duration(paceStepRuns/p.tried(n+1)*paceMinute))
	}
	return n
}

// tried is the n-th faster pace, in calls a minute. A limit is most likely a whole
// number, so that less than one call more is none; half as much again will do,
// where one more were twice as much.
func (p *pace) tried(n int) float64 {
	limit := p.found.Limit
	return limit + min(1, limit/2)*math.Pow(paceMore, float64(n-1))
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
		p.found, p.tries, p.held = FoundPace{}, false, 0
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
		if p.step() > 0 && !p.tries {
			// It was kept to; what Duo had in store is unused.
			p.tries, p.found.Proven = true, p.found.Limit
			p.since, p.run = now, 0
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
	f := p.estimate()
	switch kept := p.step() == 0; {
	case !kept || !p.went:
		p.held = 0
	case p.found.Limit > 0 && p.found.Proven >= p.found.Limit:
		p.other = p.last // what was kept to for long is refused
	}
	if p.went {
		// If nothing went through since the last 429, this one says nothing of a pace.
		p.found = f
		p.found.At = ToMillis(p.last)
	}
	p.held = min(p.held, p.hold()) // if now shorter, one step at a time
	p.tries, p.went, p.since, p.run = false, false, time.Time{}, 0
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
	case step == 1 && p.shared():
		// It is as it was, and others wait for a part of it.
		f.Limit *= paceGive
		f.Proven = min(f.Proven, f.Limit)
	case step == 1:
		// It is as it was.
	case step > 1:
		// It is higher: the pace before this one went well.
		well := p.tried(step - 1)
		f.Limit = max(well, min(recent, math.Sqrt(well*p.tried(step))))
	case recent+0.5 < paceFell*f.Limit: // recent is whole calls, half of one less on average
		// It has fallen, or others take a part of it.
		if p.run < 3 {
			recent = max(recent, paceFew*f.Limit)
		}
		f.Limit, f.Proven = recent, 0
	case f.Proven > 0 && f.Proven < f.Limit:
		// The try was too short to tell that this was too much.
		less := math.Sqrt(bucket * f.Limit)
		if bucket < f.Proven {
			less = recent // it is no bucket, which would have refused what was proven
		}
		f.Limit = max(min(less, paceDown*f.Limit), f.Proven)
	default:
		// It has changed, or others take a part of it: who has most is refused most.
		f.Limit, f.Proven = min(math.Sqrt(bucket*f.Limit), paceBack*f.Limit), 0
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
