package checkpoint

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
)

// Family is the right to one log of the child accounts of a service provider: to all of them, so that nobody else has
// any, or to some, each of which has its one owner. What it holds open does not grow with the children in the first
// case. The parent's own log is not in it: its keys are others. The lock is <folder>/<host>/.accounts.<log>.lock.
type Family struct {
	store  *Store
	parent Stream // canonical

	mu       sync.Mutex
	lock     *lock
	released bool
}

// AcquireFamily makes owner one that may have child accounts of the parent, whose Account is empty: with all, the only
// one. It waits and fails as Acquire does.
func (s *Store) AcquireFamily(ctx context.Context, parent Stream, all bool, owner string) (*Family, error) {
	parent = parent.canonical()
	if err := parent.check(); err != nil {
		return nil, err
	}
	f := &Family{store: s, parent: parent, lock: &lock{
		dir:  s.dir,
		path: filepath.Join(s.dir, parent.Host, ".accounts."+parent.Log+".lock"), owner: owner, shared: !all,
	}}
	if err := f.lock.take(ctx); err != nil {
		return nil, fmt.Errorf("lock checkpoints of the child accounts of %s, %s: %w", parent.Host, parent.Log, err)
	}
	return f, nil
}

// Acquire makes the family's owner the one owner of a child account's stream, as Store.Acquire does. Release the slot
// before the family.
func (f *Family) Acquire(ctx context.Context, account string) (*Slot, error) {
	st := Stream{Host: f.parent.Host, Account: account, Log: f.parent.Log}
	if account == "" || account == self {
		return nil, fmt.Errorf("stream %q: account %q is not a child's", st, account)
	}
	if err := st.check(); err != nil {
		return nil, err
	}
	return f.store.acquire(ctx, st, &lock{owner: f.lock.owner, within: !f.lock.shared}, f)
}

// hold makes sure that the lock still keeps others out; for no family it does nothing.
func (f *Family) hold() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lock.hold()
}

// Closing announces a Release: from now on another AcquireFamily in this process waits for it.
func (f *Family) Closing() { f.lock.announce() }

// Release gives the lock back. Only the first call does anything.
func (f *Family) Release() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.released {
		return nil
	}
	f.released = true
	return f.lock.giveBack()
}
