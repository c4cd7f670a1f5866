package duo_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// TestLateEventsWhateverHappens: a log whose overlap is mostly left out, with
// bursts that can just be remembered, stops and outages: what
// is filed within delay and overlap arrives once.
func TestLateEventsWhateverHappens(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+max(1, *seeds/4); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { lateTrial(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func lateTrial(t *testing.T, rnd *rand.Rand) {
	const log = duotest.Activity
	w := duo.Window{
		Delay:        pick(rnd, []time.Duration{30 * time.Second, 2 * time.Minute}),
		Overlap:      pick(rnd, []time.Duration{time.Minute, 5 * time.Minute}),
		PollInterval: pick(rnd, []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute}),
		PageSize:     pick(rnd, []int{5, 10, 20}),
	}
	// Each second has one event, each fifth one more that is late, and a burst.
	perOverlap := int(w.Overlap.Seconds() * 1.2)
	burst := perOverlap * (1 + rnd.IntN(3))
	w.MaxSeen = perOverlap + burst + 60
	a := newAccount(t, duotest.Config{PageCap: pick(rnd, []int{0, 0, 7}), OffsetAlone: rnd.IntN(2) == 0})
	g := duotest.NewGenerator(log, 3, small)
	live := func(d time.Duration) {
		for i := range int(d / time.Second) {
			now := time.Now()
			a.server.Add(log, g.At(now))
			if i%5 == 0 {
				a.server.AddAt(log, now.Add(time.Duration(rnd.Int64N(int64(w.Delay+w.Overlap)))), g.At(now.Add(time.Second/2)))
			}
			time.Sleep(time.Second)
		}
	}
	var got []string
	r := a.read(log, w, duo.NewCursor(time.Now().Add(-time.Minute), time.Now()))
	resume := func(c duo.Cursor) {
		r.stop()
		got = append(got, r.got()...)
		r = a.read(log, w, c)
	}
	for range 8 {
		live(2*w.Overlap + time.Duration(rnd.IntN(600))*time.Second)
		switch now := time.Now(); rnd.IntN(5) {
		case 0, 1:
			a.server.Add(log, g.Spread(now.Add(-10*time.Second), now, burst)...)
		case 2: // a stop
			r.stop()
			live(time.Duration(rnd.IntN(3600)) * time.Second)
			resume(r.poller.Cursor)
		case 3: // an outage
			a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 503, Skip: rnd.IntN(9), N: 1 + rnd.IntN(60)})
		case 4:
			a.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 400, N: 1, Match: func(c duotest.Call) bool { return c.Param("next_offset") != "" }})
		}
	}
	live(w.Overlap)
	time.Sleep(2 * time.Hour)
	r.stop()
	resume(r.poller.Cursor)
	sameOnce(t, a.server.IDs(log), got)
	if t.Failed() {
		t.Logf("%+v, a burst of %d", w, burst)
	}
}
