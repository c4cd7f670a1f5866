package duo

import (
	"container/list"
	"context"
	"sync"
)

// gateSlots is how many pages of all of a gate's streams are fetched, or wait to
// be delivered, at once: at 1.7 KB a record 16 full pages are about 27 MiB.
const gateSlots = 16

// Gate bounds what many streams do at once, and with it their connections and
// the memory that pages take. Streams get through in the order in which they
// came, a page each, so that each has a fair share. Those in trouble have at
// most a quarter of the places: hundreds of calls that hang until they time out
// do not hold up the others.
//
// A nil Gate lets everybody through.
type Gate struct {
	mu       sync.Mutex
	inside   int
	troubled int       // of those inside
	waiting  list.List // of *entrant, the oldest first
}

// entrant waits for its turn.
type entrant struct {
	troubled bool
	in       chan struct{} // closed when it is let in
}

// enter waits for a place, which leave gives back. troubled says that the
// stream's last call failed. The error is the context's.
func (g *Gate) enter(ctx context.Context, troubled bool) (leave func(), err error) {
	if g == nil {
		return func() {}, ctx.Err()
	}
	e := &entrant{troubled: troubled, in: make(chan struct{})}
	g.mu.Lock()
	place := g.waiting.PushBack(e)
	g.admit()
	g.mu.Unlock()
	leave = func() { g.leave(troubled) }
	select {
	case <-e.in:
		return leave, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	g.waiting.Remove(place)
	g.mu.Unlock()
	select {
	case <-e.in: // in the meantime
		leave()
	default:
	}
	return nil, ctx.Err()
}

func (g *Gate) leave(troubled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if troubled {
		g.troubled--
	}
	g.admit()
}

// admit lets in whom there is a place for; mu is held.
func (g *Gate) admit() {
	for place := g.waiting.Front(); place != nil && g.inside < gateSlots; {
		e := place.Value.(*entrant)
		next := place.Next()
		if !e.troubled || g.troubled < gateSlots/4 {
			g.waiting.Remove(place)
			g.inside++
			if e.troubled {
				g.troubled++
			}
			close(e.in)
		}
		place = next
	}
}
