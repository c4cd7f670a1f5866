package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"
)

const (
	// spreadOver is the longest time that first polls are spread over.
	spreadOver = time.Minute
	// spreadFrom is how many streams may begin at once.
	spreadFrom = 16
	// maxStreams bounds what is held of accounts that come and go for months.
	maxStreams = 100_000
	// maxNamed is how many accounts a log line names.
	maxNamed = 10
)

// acquireFamilies takes the right to the logs of child accounts: with ids each
// of their checkpoints, without, those that there will be.
func (in *instance) acquireFamilies(ctx context.Context, store *checkpoint.Store) error {
	in.gate, in.families = &duo.Gate{}, map[string]*checkpoint.Family{}
	for _, l := range in.options.Logs {
		f, err := store.AcquireFamily(ctx, in.key("", l), in.options.Accounts.All, "[INPUT] "+in.name)
		if err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		in.families[l.Name] = f
		for _, id := range in.options.Accounts.IDs {
			if _, err := in.child(ctx, id, l); err != nil {
				return fmt.Errorf("%s of %s: %w", l.Name, id, err)
			}
		}
	}
	return nil
}

// child returns a log of a child account, whose checkpoint it takes the first
// time; nil once the instance is to stop.
func (in *instance) child(ctx context.Context, id string, l duo.Log) (*stream, error) {
	key := in.key(id, l)
	in.mu.Lock()
	s, n := in.streams[key], len(in.streams)
	in.mu.Unlock()
	switch {
	case s != nil:
		return s, nil
	case n >= maxStreams:
		return nil, fmt.Errorf("%d streams are as many as there can be, those of accounts that are gone included; restart Fluent Bit to forget those", n)
	}
	slot, err := in.families[l.Name].Acquire(ctx, id)
	if err != nil {
		return nil, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil, slot.Release()
	}
	return in.take(key, l, slot, time.Now()), nil
}

// follow keeps the streams of child accounts in step with Duo's list of them.
func (in *instance) follow() {
	p := provider{instance: in, present: map[string]string{}}
	d := duo.Directory{
		Client: duo.NewClient(in.options.Credentials, in.transport, in.options.Timeout, userAgent()),
		Update: p.update, Logger: in.log,
	}
	in.keepUp("list of child accounts", func(ctx context.Context) {
		_ = d.Run(ctx) // ends with the context alone
	})
}

// provider is what is known of a service provider's child accounts.
type provider struct {
	*instance
	present map[string]string // host by id, of those that are pulled
	warned  map[string]bool   // what was wrong with the last list
}

// update launches what is new, stops what is gone, and moves what has another
// host. What is gone keeps its checkpoint and, in memory, its cursor.
func (p *provider) update(list []duo.Account) {
	wanted, problems := p.choose(list)
	gone := p.stop(wanted)
	var fresh []string
	var streams []*stream
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := p.present[id]; !ok {
			fresh = append(fresh, id)
		}
		for _, l := range p.options.Logs {
			s, err := p.child(p.ctx, id, l)
			switch {
			case err != nil:
				problems = append(problems, fmt.Sprintf("%s of %s: %v", l.Name, id, err))
			case s == nil:
				return
			case s.host != wanted[id]:
				streams = append(streams, s)
			}
		}
	}
	p.present = wanted
	for i, s := range streams {
		p.launch(s, wanted[s.key.Account], stagger(i, len(streams), p.options.Window.PollInterval))
	}
	p.say(fresh, gone, problems)
}

// choose returns the hosts by id of the accounts that are to be pulled, and what
// is wrong with the list. An account whose entry has become odd stays.
func (p *provider) choose(list []duo.Account) (wanted map[string]string, problems []string) {
	ids := p.options.Accounts.IDs
	wanted = map[string]string{}
	for _, a := range list {
		host, ok := a.Host, a.Odd == nil
		if !ok {
			problems = append(problems, a.Odd.Error())
			host, ok = p.present[a.ID]
		}
		if ok && (p.options.Accounts.All || slices.Contains(ids, a.ID)) {
			wanted[a.ID] = host
		}
	}
	for _, id := range ids {
		if _, ok := wanted[id]; !ok {
			problems = append(problems, "account "+id+" is not in the list, so that nothing of it is pulled; is the id right, capital letters too?")
		}
	}
	if p.options.Accounts.All && len(list) == 0 {
		problems = append(problems, "the list is empty: the parent account has no child account")
	}
	return wanted, problems
}

// stop ends the streams of accounts that are gone, or are somewhere else, and
// returns the former.
func (p *provider) stop(wanted map[string]string) (gone []string) {
	for id := range p.present {
		if _, ok := wanted[id]; !ok {
			gone = append(gone, id)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.streams {
		if s.host != "" && s.host != wanted[key.Account] {
			s.cancel()
			s.host = ""
			s.meter.note(func(r *reading) { r.pulled = false })
		}
	}
	return gone
}

// say has a line for each change of the accounts, and one for what is newly wrong
// with the list.
func (p *provider) say(fresh, gone, problems []string) {
	if len(fresh)+len(gone) > 0 {
		line := fmt.Sprintf("service provider: %d accounts, %d streams", len(p.present), len(p.present)*len(p.options.Logs))
		if len(fresh) > 0 {
			line += "; new: " + named(fresh)
		}
		if len(gone) > 0 {
			line += "; gone, their checkpoints are kept: " + named(gone)
		}
		p.log.Info(line)
	}
	warned := map[string]bool{}
	var unsaid []string
	for _, text := range problems {
		if warned[text] = true; !p.warned[text] {
			unsaid = append(unsaid, text)
		}
	}
	if p.warned = warned; len(unsaid) > 0 {
		p.log.Warn("list of child accounts: " + named(unsaid))
	}
}

// named joins names or sentences, but not hundreds of them.
func named(all []string) string {
	if more := len(all) - maxNamed; more > 1 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:maxNamed], ", "), more)
	}
	return strings.Join(all, ", ")
}

// stagger returns how long the i-th of n streams waits for its first poll: where
// they are more than a few they are spread over their interval, as all later
// polls then are.
func stagger(i, n int, interval time.Duration) time.Duration {
	if n <= spreadFrom {
		return 0
	}
	return min(interval, spreadOver) * time.Duration(i) / time.Duration(n)
}
