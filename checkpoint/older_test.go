package checkpoint

import (
	"bytes"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// power drives one store through runs of its machine and of its process, in virtual time. What it saves are the seconds
// since the test's beginning.
type power struct {
	*testing.T
	dir   string
	began time.Time
	slot  *Slot
}

// boot starts a process on a run of the machine and returns what it goes on from.
func (p *power) boot(id string) (int, Origin) {
	p.Helper()
	if p.slot != nil {
		if err := p.slot.Release(); err != nil {
			p.Fatal(err)
		}
	}
	s := mustOpen(p.T, p.dir)
	s.boot = id
	sl, err := s.Acquire(p.Context(), auth, owner)
	if err != nil {
		p.Fatal(err)
	}
	p.slot = sl
	return mustLoad(p.T, sl)
}

// run saves the time every so often, for so long.
func (p *power) run(every, length time.Duration) {
	p.Helper()
	for end := time.Now().Add(length); !time.Now().After(end); time.Sleep(every) {
		mustSave(p.T, p.slot, int(time.Since(p.began)/time.Second))
	}
}

func TestOlderAfterABoot(t *testing.T) {
	const s = time.Second
	type result struct {
		N          int
		Generation Generation
	}
	last := func(p *power, id string) result {
		n, origin := p.boot(id)
		return result{n, origin.Generation}
	}
	tests := []struct {
		name string
		live func(p *power)
		boot string
		want result
	}{
		{"the same run of the machine", func(p *power) { p.run(10*s, 300*s) }, "one", result{300, Current}},
		{"another one", func(p *power) { p.run(10*s, 300*s) }, "two", result{180, Older}},
		{"just before it would be younger", func(p *power) { p.run(10*s, 269*s) }, "two", result{90, Older}},
		{"nobody can tell", func(p *power) { p.run(10*s, 300*s) }, "", result{300, Current}},
		{"nobody could tell", func(p *power) { p.boot(""); p.run(10*s, 300*s) }, "two", result{300, Current}},
		{"right after the beginning", func(p *power) { p.run(10*s, 80*s) }, "two", result{0, Older}},
		{"a quiet log", func(p *power) { p.run(600*s, 1800*s) }, "two", result{1200, Older}},
		{"twice in short order", func(p *power) { p.run(10*s, 300*s); p.boot("two"); p.run(10*s, 80*s) }, "three", result{180, Older}},
		{"twice", func(p *power) { p.run(10*s, 290*s); p.boot("two"); p.run(10*s, 100*s) }, "three", result{300, Older}},
		{"the process restarted", func(p *power) { p.run(10*s, 290*s); p.boot("one"); p.run(10*s, 80*s) }, "two", result{180, Older}},
		{"a leap of the clock", func(p *power) {
			// The wall clock of a bubble cannot leap; what is stored of it is not even looked at.
			p.run(10*s, 290*s)
			data, err := os.ReadFile(p.slot.path)
			if err != nil {
				p.Fatal(err)
			}
			write(p.T, p.slot.path, bytes.Replace(data, []byte(`"saved_at": "2000`), []byte(`"saved_at": "1970`), 1))
			p.boot("one")
			p.run(10*s, 50*s)
		}, "two", result{180, Older}},
		{"set by the operator", func(p *power) {
			p.run(10*s, 300*s)
			if err := p.slot.Reset(7); err != nil {
				p.Fatal(err)
			}
		}, "two", result{7, Older}},
		{"the current one torn", func(p *power) {
			p.run(10*s, 300*s)
			write(p.T, p.slot.path, []byte(`{"version":`))
		}, "two", result{180, Older}},
		{"the older one damaged", func(p *power) {
			p.run(10*s, 300*s)
			data, err := os.ReadFile(p.slot.path)
			if err != nil {
				p.Fatal(err)
			}
			write(p.T, p.slot.path, bytes.Replace(data, []byte(`"cursor":180}`), []byte(`"cursor":280}`), 1))
		}, "one", result{290, Previous}},
		{"written by a build that knew no older one", func(p *power) {
			k, err := newKept(time.Now(), 5)
			if err != nil {
				p.Fatal(err)
			}
			data, err := encode(auth.canonical(), "", k, nil)
			if err != nil {
				p.Fatal(err)
			}
			write(p.T, p.slot.path, data)
		}, "two", result{5, Current}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				p := &power{T: t, dir: dir, began: time.Now()}
				if n, origin := p.boot("one"); n != -1 || origin.Generation != Fresh {
					t.Fatalf("at first: %d, %+v", n, origin)
				}
				tt.live(p)
				if diff := cmp.Diff(tt.want, last(p, tt.boot)); diff != "" {
					t.Errorf("after the boot (-want +got):\n%s", diff)
				}
				if err := p.slot.Release(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
