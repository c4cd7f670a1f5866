package main

import (
	"sync"
	"time"

	"duo_in/duo"
)

// meter holds what is measured of one stream. The poller, the callback and the
// saver write it and any goroutine reads it; nobody waits for long.
type meter struct {
	duo.Stats

	mu  sync.Mutex // guards what follows
	own reading    // but for what Stats has
}

// reading is what a meter shows.
type reading struct {
	duo.Counts
	records, bytes uint64        // that the host took
	commits        [2]uint64     // checkpoints written, and not
	reach          duo.Millis    // the host has been given all up to here, by Duo's clock
	pulled         bool          // false: nothing of the account is to be pulled now
	now            time.Time     // when it was read
	delay          time.Duration // the option
	queued         int           // of the input: bytes
}

// newMeter begins with a log of which nothing is known but that it is read from
// now on.
func newMeter(now time.Time, delay time.Duration) *meter {
	return &meter{own: reading{reach: duo.ToMillis(now.Add(-delay))}}
}

// note changes what does not come from the poller.
func (m *meter) note(change func(*reading)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.own)
}

// pulled reports whether the stream is to be pulled now.
func (m *meter) pulled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own.pulled
}

// saved counts a checkpoint that was to be written.
func (m *meter) saved(err error) {
	outcome := 0
	if err != nil {
		outcome = 1
	}
	m.note(func(r *reading) { r.commits[outcome]++ })
}

func (m *meter) read(now time.Time, delay time.Duration) reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.own
	r.Counts, r.now, r.delay = m.Counts(), now, delay
	return r
}

// lag is how long what has not been delivered yet could have been, at most: since
// the moment up to which all has been, as a log that has nothing new is asked as
// well.
func (r reading) lag() time.Duration {
	return max(0, r.now.Add(-r.Behind-r.delay).Sub(r.reach.Time()))
}
