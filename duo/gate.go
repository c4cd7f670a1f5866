package duo

import (
	"container/list"
	"context"
	"sync"
	"time"
)

const (
	// gateSlots is how many pages of all of a gate's streams are fetched, or wait
	// to be delivered, at once: enough for 25 calls a second of 0.6 s each.
	gateSlots = 16
	// hangAfter is how long a call may take until it is one that hangs: it holds a
	// connection, but most likely no page.
	hangAfter = 2 * time.Second
	// maxHanging is how many calls that hang leave their place to others.
	maxHanging = 48
)

// Gate bounds what many streams do at once, and with it their connections and
// the memory that pages take. Streams get through in the order in which they
// came, a page each, so that each has a fair share. Those whose last call hung
// have at most a quarter of the places, and a call that hangs for the first time
// gives its place up: so hundreds of calls that hang until they time out do not
// hold up the others, nor those that Duo refused at once.
//
// A nil Gate lets everybody through.
type Gate struct {
	mu       sync.Mutex
	inside   int
	suspects int       // of those inside
	hanging  int       // of those inside
	waiting  list.List // of *place, the oldest first
}

// place is one that is waited for, and then held from before a call until its
// page is delivered.
type place struct {
	gate     *Gate
	in       chan struct{} // closed when it is given
	suspect  bool
	timer    *time.Timer // until the call hangs
	hanging  bool
	answered bool
}

// enter waits for a place. suspect says that the stream's last call hung. The
// error is the context's.
func (g *Gate) enter(ctx context.Context, suspect bool) (*place, error) {
	if g == nil {
		return nil, ctx.Err()
	}
	p := &place{gate: g, in: make(chan struct{}), suspect: suspect}
	g.mu.Lock()
	waiting := g.waiting.PushBack(p)
	g.admit()
	g.mu.Unlock()
	select {
	case <-p.in:
		return p, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	g.waiting.Remove(waiting)
	g.mu.Unlock()
	select {
	case <-p.in: // in the meantime
		p.leave()
	default:
	}
	return nil, ctx.Err()
}

// admit gives places as long as there are any; mu is held.
func (g *Gate) admit() {
	for e := g.waiting.Front(); e != nil && g.inside-min(g.hanging, maxHanging) < gateSlots; {
		p, next := e.Value.(*place), e.Next()
		if !p.suspect || g.suspects < gateSlots/4 {
			g.waiting.Remove(e)
			g.inside++
			if p.suspect {
				g.suspects++
			}
			p.timer = time.AfterFunc(hangAfter, p.hang)
			close(p.in)
		}
		e = next
	}
}

// hang notes that the call takes long.
func (p *place) hang() {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.answered {
		return
	}
	p.hanging = true
	g.hanging++
	g.admit()
}

// answer notes that the call is over: there may be a page now, so that the place
// is not given up any more.
func (p *place) answer() {
	if p == nil {
		return
	}
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.settle()
}

func (p *place) settle() {
	g := p.gate
	p.timer.Stop()
	p.answered = true
	if p.hanging {
		p.hanging = false
		g.hanging--
	}
}

// leave gives the place back.
func (p *place) leave() {
	if p == nil {
		return
	}
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	p.settle()
	g.inside--
	if p.suspect {
		g.suspects--
	}
	g.admit()
}
