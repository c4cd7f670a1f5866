package duo

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var paceEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// kept is a pace after n good calls, evenly within a time, and one that was
// refused at its end.
func kept(found FoundPace, n int, within time.Duration) *pace {
	p := &pace{found: found}
	for i := range n {
		p.start(paceEpoch.Add(within * time.Duration(i) / time.Duration(n)))
		p.ok()
		p.held = 0 // as if the pace had only been kept to, unless a row says otherwise
	}
	p.start(paceEpoch.Add(within))
	p.held = 0
	return p
}

func TestEstimate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		found  FoundPace
		calls  int
		within time.Duration
		steps  int  // faster paces that are tried
		others bool // have been seen
		want   FoundPace
	}{
		{"first: ten calls at once", FoundPace{}, 10, time.Second, 0, false, FoundPace{Limit: 10}},
		{"first: one call", FoundPace{}, 1, time.Second, 0, false, FoundPace{Limit: 1}},
		{"kept to for a minute, and refused: between what a bucket and a window would be", FoundPace{Limit: 40}, 39, time.Minute, 0, false, FoundPace{Limit: 27.9}},
		{"raised, and refused: what was proven was too much for a bucket", FoundPace{Limit: 40, Proven: 30}, 37, time.Minute, 0, false, FoundPace{Limit: 37, Proven: 30}},
		{"raised, and refused: not below what was proven", FoundPace{Limit: 32, Proven: 31}, 29, time.Minute, 0, false, FoundPace{Limit: 31, Proven: 31}},
		{"raised far, and refused: between what a bucket and a window would be", FoundPace{Limit: 40, Proven: 10}, 39, time.Minute, 0, false, FoundPace{Limit: 27.9, Proven: 10}},
		{"kept to for hours, and refused: what was proven is no more", FoundPace{Limit: 30, Proven: 30}, 3529, 2 * time.Hour, 0, false, FoundPace{Limit: 24}},
		{"fallen: a part went through", FoundPace{Limit: 30, Proven: 30}, 12, 25 * time.Second, 0, false, FoundPace{Limit: 12}},
		{"fallen: two calls are too few to tell", FoundPace{Limit: 30}, 2, 4 * time.Second, 0, false, FoundPace{Limit: 21}},
		{"one call less in a minute is not fallen", FoundPace{Limit: 3.8, Proven: 3.8}, 3, time.Minute, 0, false, FoundPace{Limit: 2.39}},
		{"tried at once, and refused: it is as it was", FoundPace{Limit: 10, Proven: 10}, 10, time.Minute, 1, false, FoundPace{Limit: 10, Proven: 10}},
		{"tried at once, and refused, among others: a part of it is given up", FoundPace{Limit: 10, Proven: 10}, 10, time.Minute, 1, true, FoundPace{Limit: 8.5, Proven: 8.5}},
		{"tried for long, and refused: more than the pace before, less than this one", FoundPace{Limit: 10, Proven: 10}, 40, time.Minute, 3, false, FoundPace{Limit: 12.96, Proven: 10}},
		{"tried for long, and refused: the pace before went well", FoundPace{Limit: 10, Proven: 10}, 9, time.Minute, 3, false, FoundPace{Limit: 12, Proven: 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := kept(tt.found, tt.calls, tt.within)
			if tt.others {
				p.other = p.last
			}
			if tt.steps > 0 {
				p.held = p.hold() + time.Duration(tt.steps-1)*paceStep
				for p.step() < tt.steps {
					p.held += time.Second
				}
			}
			close := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 0.005*math.Abs(a+b) })
			if diff := cmp.Diff(tt.want, p.estimate(), close); diff != "" {
				t.Errorf("estimate (-want +got):\n%s", diff)
			}
		})
	}
}

// What is refused before anything went through says nothing of a pace.
func TestPaceRefusedTwice(t *testing.T) {
	p := kept(FoundPace{}, 20, time.Second)
	p.limited(paceEpoch.Add(time.Minute))
	want := p.found
	for i := range 60 {
		p.start(paceEpoch.Add(time.Duration(1+i) * time.Minute))
		p.limited(paceEpoch.Add(time.Duration(2+i) * time.Minute))
	}
	if diff := cmp.Diff(want, p.found); diff != "" || p.found.Limit != 20 {
		t.Errorf("after an hour of 429 (-before +after):\n%s", diff)
	}
	if want, got := 61*time.Minute, p.due.Sub(paceEpoch); got != want {
		t.Errorf("next call after %v, want %v", got, want)
	}
}

// Calls are paced from start to start; a late one may make up half a second.
func TestPaceStartToStart(t *testing.T) {
	p := &pace{found: FoundPace{Limit: 61.2}} // a call in a second
	late := []time.Duration{0, 300 * time.Millisecond, 0, 0, 5 * time.Second, 0, 0, 0}
	var at []float64
	now := paceEpoch
	for _, l := range late {
		now = now.Add(p.wait(now)).Add(l)
		at = append(at, math.Round(now.Sub(paceEpoch).Seconds()*10)/10)
		p.start(now)
		p.ok()
	}
	if diff := cmp.Diff([]float64{0, 1.3, 2, 3, 9, 9.5, 10.5, 11.5}, at); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
}

// What was stored comes back; what cannot be is none, and never a reason to
// refuse a cursor.
func TestStoredPace(t *testing.T) {
	good := FoundPace{Limit: 29.5, Proven: 29.5, At: ToMillis(paceEpoch)}
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	at, err := json.Marshal(good.At)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		text string
		want FoundPace
	}{
		{string(text), good},
		{`{"limit":29.5,"proven":29.5,"refuted":32,"at":` + string(at) + `}`, good}, // as it was stored once
		{`{"limit":1e300}`, FoundPace{}}, {`{"limit":-1}`, FoundPace{}}, {`{"limit":0}`, FoundPace{}}, {`{"limit":"x"}`, FoundPace{}}, {`[]`, FoundPace{}},
		{`"x"`, FoundPace{}}, {`{}`, FoundPace{}}, {`{"limit":5,"at":"x"}`, FoundPace{}}, {`{"limit":1e400}`, FoundPace{}},
		{`{"limit":5,"proven":-7}`, FoundPace{Limit: 5}}, {`{"limit":5,"proven":1e300}`, FoundPace{Limit: 5, Proven: paceMost}},
	} {
		var c Cursor
		if err := json.Unmarshal([]byte(`{"from":"2026-01-01T00:00:00Z","pace":`+tt.text+`}`), &c); err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if diff := cmp.Diff(&tt.want, c.Pace); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
		var p pace
		p.resume(c.Pace, paceEpoch)
		for i := range 100 { // whatever it is, calls go on
			p.start(paceEpoch.Add(time.Duration(i) * time.Hour))
			if wait := p.wait(paceEpoch.Add(time.Duration(i) * time.Hour)); wait > 11*time.Minute {
				t.Fatalf("%s: the next call is %v away", tt.text, wait)
			}
			p.ok()
		}
	}
}

// A stored pace is kept to; one of long ago, or of a clock that was ahead, is
// tried faster at once.
func TestStoredPaceAges(t *testing.T) {
	for _, tt := range []struct {
		age  time.Duration
		want int
	}{{0, 0}, {time.Hour, 0}, {25 * time.Hour, 1}, {-time.Hour, 1}} {
		var p pace
		p.resume(&FoundPace{Limit: 30, Proven: 30, At: ToMillis(paceEpoch)}, paceEpoch.Add(tt.age))
		if got := p.step(); got != tt.want {
			t.Errorf("after %v: step %d, want %d", tt.age, got, tt.want)
		}
	}
}

// A restart while faster paces are tried goes on at the one before, which went
// well, and not at the one that is tried.
func TestStoredPaceClimbs(t *testing.T) {
	p := &pace{found: FoundPace{Limit: 10, At: ToMillis(paceEpoch)}}
	want := 10.0
	for now := paceEpoch; p.step() < 4; now = now.Add(p.wait(now)) {
		if f := p.store(); f.Limit != want {
			t.Fatalf("at step %d: %v calls a minute are stored, want %v", p.step(), f.Limit, want)
		}
		p.start(now)
		p.ok()
		if n := p.step(); n > 1 {
			want = p.tried(n - 1)
		}
	}
	var again pace
	again.resume(p.store(), p.last)
	if step, rate := again.step(), again.rate(); step != 0 || rate >= p.tried(3) || rate < 0.95*p.tried(3) {
		t.Errorf("after a restart: step %d of %v calls a minute, want 0 and just below %v", step, rate, p.tried(3))
	}
}

// One that keeps to its pace is refused for another's sake: it slows down, and its
// own try comes when it would have come. What was kept to for long says that there
// are others.
func TestPaceAmongOthers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		proven float64
		others bool
	}{{"kept to for long", 30, true}, {"not proven", 0, false}, {"raised", 28, false}} {
		t.Run(tt.name, func(t *testing.T) {
			p := &pace{found: FoundPace{Limit: 30, Proven: tt.proven}}
			now := paceEpoch
			for p.held < paceHold/2 {
				p.start(now)
				p.ok()
				now = now.Add(p.wait(now))
			}
			p.start(now)
			held := p.held
			p.limited(now.Add(time.Minute))
			if p.shared() != tt.others || p.held != held || p.found.Limit >= 30 {
				t.Errorf("others %v, held %v of %v, %v calls a minute; want %v, all of it, and less than 30", p.shared(), p.held, held, p.found.Limit, tt.others)
			}
		})
	}
}

// TestPaceOfWindow: a log alone, whose calls are counted by the minute, uses 85 % of
// the limit for as long as it lasts. A pace just above it, which is refused once an
// hour only, does not have it go up and down from then on.
func TestPaceOfWindow(t *testing.T) {
	const search, length, latency = 30 * time.Minute, 12 * time.Hour, 50 * time.Millisecond
	for limit := 40; limit < 65; limit++ {
		var p pace
		var minute time.Time
		calls, good := 0, 0
		for now := paceEpoch.Add(42 * time.Second); now.Before(paceEpoch.Add(search + length)); now = now.Add(p.wait(now)) {
			if m := now.Truncate(time.Minute); m != minute {
				minute, calls = m, 0
			}
			p.start(now)
			if now = now.Add(latency); calls == limit {
				p.limited(now.Add(63 * time.Second))
				continue
			}
			calls++
			if p.ok(); now.Sub(paceEpoch) >= search {
				good++
			}
		}
		if share := float64(good) / (float64(limit) * length.Minutes()); share < 0.85 {
			t.Errorf("%d calls a minute: %.0f %% of it used", limit, 100*share)
		}
	}
}
