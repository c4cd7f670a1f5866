package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"duo_in/checkpoint"
	"duo_in/plugin/option"
)

const (
	// exportEvery is how often the host's copy is brought up to date: so often
	// Fluent Bit reads it.
	exportEvery = time.Second
	// maxMetered is how many accounts have series of their own. Before 5.1 Fluent
	// Bit looks each of them up by going through all of the metric, once a second,
	// when it makes what its endpoints show.
	maxMetered = 32
)

// registrar makes a metric known to the host. It returns what sets the value of
// one of its series, which is named by the values of the metric's labels; nil if
// the host does not take it. Series are made by the first value.
type registrar func(m *metric) setter
type setter func(labels []string, value float64, at time.Time)

// exporter shows the meters of an input in the host's metrics.
//
// The host's main thread reads its metrics while others write them: values are
// atomic, but its lists have no lock (lib/cmetrics). So all series there will
// ever be are made in Init, before it reads. That is also why accounts that come
// and go have none: a series cannot be taken back.
type exporter struct {
	delay    time.Duration
	queued   func() int
	together bool    // all accounts share their series
	places   []place // of the series

	mu     sync.Mutex // guards what follows; held while the host is called
	series []*series  // none: the host has no metrics, or it is over
	meters map[place][]*meter
}

// place is what a series stands for, beside its metric: a log, and an account, or
// all of them.
type place struct{ log, account string }

// series is one value in the host.
type series struct {
	metric  *metric
	outcome int
	place   place
	labels  []string
	set     setter
	shown   float64
}

// newExporter takes the options of an input, and what says how many bytes its
// queue holds.
func newExporter(o option.Values, queued func() int) *exporter {
	ids := o.Accounts.IDs
	e := &exporter{
		delay: o.Window.Delay, queued: queued, together: o.Accounts.All || len(ids) > maxMetered,
		meters: map[place][]*meter{},
	}
	if e.together || !o.Accounts.Any() {
		ids = []string{""}
	}
	for _, l := range o.Logs {
		for _, id := range ids {
			e.places = append(e.places, e.place(checkpoint.Stream{Account: id, Log: l.Name}))
		}
	}
	return e
}

// place returns what a stream is shown as, or as a part of.
func (e *exporter) place(key checkpoint.Stream) place {
	switch {
	case e.together:
		return place{key.Log, "all"}
	case key.Account == "":
		return place{key.Log, "self"}
	}
	return place{key.Log, key.Account}
}

// add takes in a stream's meter.
func (e *exporter) add(key checkpoint.Stream, m *meter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.place(key)
	e.meters[at] = append(e.meters[at], m)
}

// begin makes all series, in the host's Init. input is what the host calls the
// instance.
func (e *exporter) begin(host registrar, input string, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range metrics {
		m := &metrics[i]
		set := host(m)
		if set == nil {
			continue
		}
		if m.ofInput {
			e.series = append(e.series, &series{metric: m, labels: []string{input}, set: set})
			continue
		}
		for _, at := range e.places {
			labels := []string{input, at.log, at.account}
			if m.outcomes == nil {
				e.series = append(e.series, &series{metric: m, place: at, labels: labels, set: set})
			}
			for i, o := range m.outcomes {
				labels := append(slices.Clone(labels), o.name)
				e.series = append(e.series, &series{metric: m, outcome: i, place: at, labels: labels, set: set})
			}
		}
	}
	for _, s := range e.series {
		s.set(s.labels, s.shown, now)
	}
}

// run shows the meters until the context ends. It does so on a thread of its own,
// as Fluent Bit's workers do: while an input is paused its callback is not called,
// and a lag that stands still would be wrong.
func (e *exporter) run(ctx context.Context) {
	tick := time.NewTicker(exportEvery)
	defer tick.Stop()
	for {
		e.update(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// update shows what has changed.
func (e *exporter) update(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.series) == 0 {
		return
	}
	readings := map[place][]reading{{}: {{queued: e.queued()}}}
	for at, meters := range e.meters {
		readings[at] = e.read(meters, now)
	}
	for _, s := range e.series {
		if value := s.value(readings[s.place]); value != s.shown {
			s.set(s.labels, value, now)
			s.shown = value
		}
	}
}

// value is made of what the place's meters show. A gauge of all accounts leaves
// out those that are gone; counters never fall.
func (s *series) value(rs []reading) float64 {
	var values []float64
	for _, r := range rs {
		if r.pulled || !s.metric.gauge || s.place.account != "all" {
			values = append(values, s.metric.read(r, s.outcome))
		}
	}
	if len(values) == 0 {
		return 0
	}
	return s.metric.fold.of(values)
}

func (e *exporter) read(meters []*meter, now time.Time) []reading {
	rs := make([]reading, len(meters))
	for i, m := range meters {
		rs[i] = m.read(now, e.delay)
	}
	return rs
}

// end waits for an update that is under way; from then on the host is not called,
// which frees its metrics after Exit.
func (e *exporter) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.series = nil
}
