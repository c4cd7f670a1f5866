//go:build cgo

package scenario

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/internal/flbtest"
)

// step is one thing that is done in a torture.
type step struct {
	After time.Duration // the step before
	Do    string        // a row of acts, or of damages
	Roll  uint64        // decides all that is left to chance
}

func (s step) rand() *rand.Rand { return rand.New(rand.NewPCG(s.Roll, 0)) }

func (s step) String() string { return fmt.Sprintf("+%-6v %-10s %016x", s.After, s.Do, s.Roll) }

// pace is how fast a kind of host is tortured.
type pace struct {
	life     time.Duration // the most that an ordinary one lasts
	longLife time.Duration // that of one in twenty
	gap      time.Duration // between two acts, on average
	overhead time.Duration // about what a start and an end take
}

var paces = map[flbtest.Kind]pace{
	flbtest.CHost:     {life: 4 * time.Second, longLife: 30 * time.Second, gap: 500 * time.Millisecond, overhead: 300 * time.Millisecond},
	flbtest.FluentBit: {life: 6 * time.Second, longLife: 45 * time.Second, gap: 800 * time.Millisecond, overhead: 500 * time.Millisecond},
}

// plan is what a seed means: the same steps each time. A torture is a row of
// rounds. Each begins with a damage to the checkpoints, goes on with lives of the
// host, and ends with a calm, in which all that is there must arrive. So a damage
// that has events read again cannot hide a loss: what was lost before it would
// have been missed by the calm.
func plan(seed uint64, length time.Duration, kind flbtest.Kind) (steps []step) {
	p := paces[kind]
	rnd := rand.New(rand.NewPCG(seed, uint64(kind)))
	add := func(after time.Duration, do string) {
		steps = append(steps, step{after.Truncate(time.Millisecond), do, rnd.Uint64()})
	}
	for total := time.Duration(0); total < length; {
		add(0, pick(rnd, damages).name)
		for range 3 + rnd.IntN(6) {
			if rnd.IntN(4) == 0 {
				add(0, "torn")
			}
			add(0, "start")
			life := time.Duration(rnd.Int64N(int64(p.life)))
			if rnd.IntN(20) == 0 {
				life = time.Duration(rnd.Int64N(int64(p.longLife)))
			}
			total += life + p.overhead
			for {
				gap := time.Duration(rnd.ExpFloat64() * float64(p.gap))
				if gap >= life {
					break
				}
				life -= gap
				add(gap, draw(rnd, kind, acts))
			}
			add(life, draw(rnd, kind, ends))
		}
		add(0, "calm")
		total += 5 * time.Second
	}
	return steps
}

func pick[T any](rnd *rand.Rand, of []T) T { return of[rnd.IntN(len(of))] }

// draw returns the name of an act, each as likely as its share says.
func draw(rnd *rand.Rand, kind flbtest.Kind, of []act) string {
	all := 0
	for _, a := range of {
		all += a.share[kind]
	}
	n := rnd.IntN(all)
	for _, a := range of {
		if n -= a.share[kind]; n < 0 {
			return a.name
		}
	}
	panic("unreachable")
}

func planText(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&b, "%5d %v\n", i, s)
	}
	return b.String()
}

// The same seed gives the same plan, another one another; a plan has the length
// that was asked for, and of everything something.
func TestTorturePlan(t *testing.T) {
	const length = 20 * time.Minute
	for kind := range paces {
		t.Run(kind.String(), func(t *testing.T) {
			steps := plan(7, length, kind)
			if diff := cmp.Diff(steps, plan(7, length, kind)); diff != "" {
				t.Errorf("two plans of a seed differ:\n%s", diff)
			}
			if cmp.Equal(steps, plan(8, length, kind)) {
				t.Error("two seeds have one plan")
			}
			total, count := time.Duration(0), map[string]int{}
			for _, s := range steps {
				total += s.After
				count[s.Do]++
			}
			if total < length/2 || total > length {
				t.Errorf("the plan lasts %v without what the host takes, want a little less than %v", total, length)
			}
			for _, a := range append(append([]act{}, acts...), ends...) {
				if (a.share[kind] > 0) != (count[a.name] > 0) {
					t.Errorf("%s is planned %d times, its share is %d", a.name, count[a.name], a.share[kind])
				}
			}
			for _, d := range damages {
				if count[d.name] == 0 {
					t.Errorf("%s is not planned", d.name)
				}
			}
			if kills, least := count["kill"], map[flbtest.Kind]int{flbtest.CHost: 200, flbtest.FluentBit: 80}[kind]; kills < least {
				t.Errorf("%d kills, want at least %d", kills, least)
			}
		})
	}
}
