package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/duo/duotest"
	"duo_in/plugin/option"
)

// shelf is the metrics of a host, which takes those that are not in refuses.
type shelf struct {
	refuses map[string]bool

	mu     sync.Mutex
	made   []string           // the names
	values map[string]float64 // by name{label,...}
	sets   int
	bad    []string // what a host would not take
}

func (s *shelf) metric(m *metric) setter {
	if s.refuses[m.name] {
		return nil
	}
	s.made = append(s.made, m.name)
	if s.values == nil {
		s.values = map[string]float64{}
	}
	return func(labels []string, value float64, at time.Time) {
		s.mu.Lock()
		defer s.mu.Unlock()
		key := fmt.Sprintf("%s{%s}", m.name, strings.Join(labels, ","))
		if old, ok := s.values[key]; ok && !m.gauge && value < old || len(labels) != len(m.labels()) {
			s.bad = append(s.bad, fmt.Sprint(key, " ", value))
		}
		s.values[key] = value
		s.sets++
	}
}

// at returns a value.
func (s *shelf) at(key string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

// changes returns how many values were set so far.
func (s *shelf) changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sets
}

// of returns the values of some metrics.
func (s *shelf) of(names ...string) map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := map[string]float64{}
	for key, v := range s.values {
		if name, _, _ := strings.Cut(key, "{"); slices.Contains(names, name) {
			got[key] = v
		}
	}
	return got
}

func logsOf(t *testing.T, names ...string) (logs []duo.Log) {
	t.Helper()
	for _, n := range names {
		l, err := duo.LookupLog(n)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	return logs
}

func numberedIDs(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("DA%04d", i))
	}
	return ids
}

// All series are there from the beginning, and there are never more.
func TestSeriesAreMadeAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name     string
		accounts option.Accounts
		want     []string // the account of each series
	}{
		{"of its own", option.Accounts{}, []string{"self"}},
		{"named", option.Accounts{IDs: []string{"DA0000", "DA0001"}}, []string{"DA0000", "DA0001"}},
		{"as many as can be", option.Accounts{IDs: numberedIDs(maxMetered)}, numberedIDs(maxMetered)},
		{"more", option.Accounts{IDs: numberedIDs(maxMetered + 1)}, []string{"all"}},
		{"all", option.Accounts{All: true}, []string{"all"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := option.Values{Accounts: tt.accounts, Logs: logsOf(t, "activity", "telephony")}
			e, host := newExporter(o, func() int { return 7 }), &shelf{}
			e.begin(host.metric, "in", time.Now())
			want := map[string]float64{}
			for _, account := range tt.want {
				want["up{in,activity,"+account+"}"], want["up{in,telephony,"+account+"}"] = 0, 0
			}
			if diff := cmp.Diff(want, host.of("up")); diff != "" {
				t.Errorf("series (-want +got):\n%s", diff)
			}
			n := len(host.values)
			if want := len(tt.want)*2*seriesEach() + 1; n != want {
				t.Errorf("%d series, want %d", n, want)
			}
			for _, id := range append(numberedIDs(40), "", "unheard") {
				if id == "" == tt.accounts.Any() {
					continue
				}
				e.add(checkpoint.Stream{Account: id, Log: "activity"}, newMeter(time.Now(), 0))
			}
			e.update(time.Now())
			if len(host.values) != n || len(host.bad) > 0 || host.at("queue_bytes{in}") != 7 {
				t.Errorf("%d series, want %d; the queue shows %v; %v", len(host.values), n, host.at("queue_bytes{in}"), host.bad)
			}
		})
	}
}

// seriesEach is how many series a log of an account has.
func seriesEach() (n int) {
	for _, m := range metrics {
		if !m.ofInput {
			n += max(1, len(m.outcomes))
		}
	}
	return n
}

// What accounts that share a series come to.
func TestAccountsTogether(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	o := option.Values{Accounts: option.Accounts{All: true}, Logs: logsOf(t, "activity", "telephony")}
	o.Window.Delay = 2 * time.Minute
	e, host := newExporter(o, func() int { return 0 }), &shelf{}
	e.begin(host.metric, "in", now)
	add := func(log string, r reading) *meter {
		m := newMeter(now, o.Window.Delay)
		m.own = r
		e.add(checkpoint.Stream{Account: "DA", Log: log}, m)
		return m
	}
	reach := func(lag time.Duration) duo.Millis { return duo.ToMillis(now.Add(-lag - o.Window.Delay)) }
	add("activity", reading{records: 3, bytes: 300, reach: reach(90 * time.Second), pulled: true})
	add("activity", reading{records: 4, bytes: 400, commits: [2]uint64{5, 1}, reach: reach(5 * time.Second), pulled: true})
	gone := add("activity", reading{records: 10, bytes: 1000, reach: reach(time.Hour), pulled: true})
	names := []string{"records_total", "bytes_total", "commits_total", "lag_seconds", "up"}

	want := map[string]float64{
		"records_total{in,activity,all}": 17, "records_total{in,telephony,all}": 0,
		"bytes_total{in,activity,all}": 1700, "bytes_total{in,telephony,all}": 0,
		"commits_total{in,activity,all,ok}": 5, "commits_total{in,activity,all,failed}": 1,
		"commits_total{in,telephony,all,ok}": 0, "commits_total{in,telephony,all,failed}": 0,
		"lag_seconds{in,activity,all}": 3600, "lag_seconds{in,telephony,all}": 0,
		"up{in,activity,all}": 0, "up{in,telephony,all}": 0,
	}
	e.update(now)
	if diff := cmp.Diff(want, host.of(names...)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// An account that is gone is late and down no more, but what it brought stays.
	gone.note(func(r *reading) { r.pulled = false })
	want["lag_seconds{in,activity,all}"] = 90
	sets := host.sets
	e.update(now)
	if diff := cmp.Diff(want, host.of(names...)); diff != "" || host.sets != sets+1 {
		t.Errorf("without one, and %d values were set, want 1 (-want +got):\n%s", host.sets-sets, diff)
	}
	if len(host.bad) > 0 {
		t.Errorf("the host was given %v", host.bad)
	}
}

func TestFolds(t *testing.T) {
	for _, tt := range []struct {
		fold fold
		want float64
	}{{sum, 6}, {highest, 4}, {lowest, 0}, {mean, 1.5}} {
		if got := tt.fold.of([]float64{1, 4, 0, 1}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.fold.name, got, tt.want)
		}
	}
}

// A host that refuses some metrics is given the others; one that frees them all
// is not called again.
func TestHostsOfLess(t *testing.T) {
	e, host := newExporter(option.Values{Logs: logsOf(t, "activity")}, func() int { return 0 }), &shelf{refuses: map[string]bool{"up": true}}
	e.begin(host.metric, "in", time.Now())
	m := newMeter(time.Now(), 0)
	e.add(checkpoint.Stream{Log: "activity"}, m)
	m.note(func(r *reading) { r.records = 1 })
	e.update(time.Now())
	if host.at("records_total{in,activity,self}") != 1 || len(host.made) != len(metrics)-1 {
		t.Errorf("made are %v, values %v", host.made, host.values)
	}
	e.end()
	sets := host.sets
	m.note(func(r *reading) { r.records = 2 })
	e.update(time.Now())
	if host.sets != sets {
		t.Error("after the end a value was set")
	}
}

// export has an instance's metrics on a shelf.
func (w *world) export(in *instance) *shelf {
	host := &shelf{}
	in.export(host.metric, in.name, time.Now())
	return host
}

// gated is a network on which calls wait until goOn is closed.
type gated struct {
	http.RoundTripper
	goOn chan struct{}
}

func (g gated) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-g.goOn:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return g.RoundTripper.RoundTrip(r)
}

// startGated begins an instance with its metrics on a shelf. They show the start
// until goOn is called: no answer comes before it.
func (w *world) startGated() (in *instance, host *shelf, goOn func()) {
	w.t.Helper()
	in = w.make()
	g := gated{in.transport, make(chan struct{})}
	in.transport = g
	if err := in.Start(time.Now()); err != nil {
		w.t.Fatal(err)
	}
	return in, w.export(in), func() { close(g.goOn) }
}

// The lag of an idle log is that of the last call; it grows while Duo does not
// answer and while the host takes nothing, also where the callback is not called
// at all, and is gone when all has been taken.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		in := w.start()
		host := w.export(in)
		const lag, up = "lag_seconds{duo.0,activity,self}", "up{duo.0,activity,self}"
		check := func(when string, from, to time.Duration, wantUp float64) {
			t.Helper()
			synctest.Wait()
			if got := time.Duration(host.at(lag)) * time.Second; got < from || got > to || host.at(up) != wantUp {
				t.Errorf("%s: lag %v, want %v to %v; up %v, want %v", when, got, from, to, host.at(up), wantUp)
			}
		}
		w.run(in, time.Minute, nil)
		most := 0.0
		w.run(in, 10*time.Minute, func(int) { most = max(most, host.at(lag)) })
		if most < 50 || most > 62 {
			t.Errorf("an idle log lags by up to %v s, want about a minute, from one call to the next", most)
		}
		w.server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: 503, N: -1})
		w.run(in, 10*time.Minute, nil)
		check("in an outage", 10*time.Minute, 11*time.Minute, 0)
		w.server.ClearFaults()
		w.run(in, 4*time.Minute, nil) // the first call is for the time before the outage
		check("after it", 0, 62*time.Second, 1)

		stop := w.trickle("activity", time.Second)
		w.pause(in)
		time.Sleep(10 * time.Minute) // and no callback
		check("in a pause", 10*time.Minute, 11*time.Minute+2*time.Second, 1)
		if host.at("queue_bytes{duo.0}") == 0 {
			t.Error("nothing waits, by queue_bytes")
		}
		w.resume(in)
		w.run(in, time.Minute, nil)
		stop()
		check("after it", 0, 62*time.Second, 1)
		w.run(in, 5*time.Minute, nil)
		w.check("activity", 0)
		if got := host.at("records_total{duo.0,activity,self}"); int(got) != len(w.events) || host.at("queue_bytes{duo.0}") != 0 {
			t.Errorf("%v records are counted, %d arrived; %v bytes wait", got, len(w.events), host.at("queue_bytes{duo.0}"))
		}
		w.stop(in)
		sets := host.sets
		time.Sleep(time.Hour)
		if host.sets != sets || len(host.bad) > 0 {
			t.Errorf("after Exit %d values were set; the host would not take %v", host.sets-sets, host.bad)
		}

		// A log goes on at its checkpoint, so its lag does.
		time.Sleep(3 * time.Hour)
		in, host, goOn := w.startGated()
		check("at the start", 4*time.Hour, 4*time.Hour+10*time.Minute, 0)
		goOn()
		w.run(in, 10*time.Second, nil)
		check("soon after", 0, 11*time.Second, 1)
		w.stop(in)
	})
}

// A host whose start fails after Init frees its metrics and calls no Exit: until
// the first callback, by which it runs, nobody calls it but Init.
func TestHostThatNeverRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, callback := range map[string]func(*instance){
			"Collect": func(in *instance) { in.Collect(time.Now()) },
			"Pause":   func(in *instance) { in.Pause(time.Now()) },
		} {
			w := newWorld(t, duotest.Config{})
			in := w.start()
			host := w.export(in)
			sets := host.changes()
			time.Sleep(time.Minute)
			if n := host.changes() - sets; n != 0 {
				t.Errorf("without a callback %d values were set", n)
			}
			callback(in)
			time.Sleep(time.Minute)
			if host.changes() == sets {
				t.Errorf("after %s no value was set", name)
			}
			w.stop(in)
		}
	})
}

// A fault in what shows the metrics does not end the host, nor the metrics.
func TestFaultInMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		in := w.start()
		host := w.export(in)
		var asked atomic.Int64
		queued := in.exporter.queued
		in.exporter.queued = func() int {
			if asked.Add(1) == 1 {
				panic("no such number")
			}
			return queued()
		}
		in.Collect(time.Now())
		synctest.Wait()
		sets := host.changes()
		time.Sleep(5 * time.Minute)
		if asked.Load() < 2 || host.changes() == sets {
			t.Errorf("updates %d, values set after the fault %d", asked.Load(), host.changes()-sets)
		}
		w.stop(in)
		if n := strings.Count(w.stderr.String(), "metrics: a fault in duo_in: no such number"); n != 1 {
			t.Errorf("the fault was said %d times", n)
		}
	})
}

// A clock that is ahead of Duo's is not lag.
func TestLagBehindAWrongClock(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := reading{now: now, delay: 2 * time.Minute, reach: duo.ToMillis(now.Add(-time.Hour - 2*time.Minute - time.Second))}
	if got := r.lag(); got != time.Hour+time.Second {
		t.Errorf("lag %v", got)
	}
	if r.Behind = time.Hour; r.lag() != time.Second {
		t.Errorf("with a clock an hour ahead the lag is %v, want 1s", r.lag())
	}
	if r.Behind = 2 * time.Hour; r.lag() != 0 {
		t.Errorf("lag %v, want 0 at least", r.lag())
	}
}

// A batch that the ring did not take is counted once, when it is taken, and saves
// that fail are counted as that.
func TestHandedOverAndSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		w.backlog("activity", 3*time.Minute, 50)
		in := w.start()
		host := w.export(in)
		w.late = 1100 * time.Millisecond
		w.run(in, 5*time.Minute, nil)
		if got := host.at("records_total{duo.0,activity,self}"); got != 50 {
			t.Errorf("%v records are counted, want 50", got)
		}
		saved := host.at("commits_total{duo.0,activity,self,ok}")
		if saved == 0 || host.at("commits_total{duo.0,activity,self,failed}") != 0 {
			t.Errorf("commits: %v", host.of("commits_total"))
		}
		in.streams[in.key("", in.options.Logs[0])].meter.saved(errors.New("no room"))
		time.Sleep(2 * time.Second)
		if got := host.at("commits_total{duo.0,activity,self,failed}"); got != 1 {
			t.Errorf("%v commits failed, want 1", got)
		}
		w.stop(in)
	})
}

// Of all child accounts the share that is up is shown, which an account that is
// gone is no part of.
func TestShareOfAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newProvider(t, duotest.Config{}, 4)
		w.server.Child(childNo(3).ID).SetPermissions(false)
		in, host, goOn := w.startGated()
		shows := func(when string, up float64) {
			t.Helper()
			got := host.of("up")
			want := map[string]float64{"up{duo.0,authentication,all}": up, "up{duo.0,activity,all}": up, "up{duo.0,telephony,all}": up}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		shows("at the start", 0)
		goOn()
		w.run(in, 5*time.Minute, nil)
		shows("with one of four forbidden", 0.75)
		if got := host.at("calls_total{duo.0,activity,all,denied}"); got < 1 {
			t.Errorf("%v calls are counted as denied", got)
		}
		w.server.RemoveChild(childNo(3).ID)
		w.run(in, 12*time.Minute, nil)
		shows("with three", 1)
		if lag := host.at("lag_seconds{duo.0,activity,all}"); lag > 62 {
			t.Errorf("the account that is gone lags on: %v", lag)
		}
		w.stop(in)
	})
}

// An account that is named is shown also while it is not in Duo's list: as down,
// and ever later.
func TestNamedAccountThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newProvider(t, duotest.Config{}, 1)
		w.set["accounts"], w.set["logs"] = childNo(0).ID+", DA999", "activity"
		in := w.start()
		host := w.export(in)
		w.run(in, 10*time.Minute, nil)
		want := map[string]float64{"up{duo.0,activity,DA000}": 1, "up{duo.0,activity,DA999}": 0}
		if diff := cmp.Diff(want, host.of("up")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if lag := host.at("lag_seconds{duo.0,activity,DA999}"); lag < 590 || lag > 601 {
			t.Errorf("lag %v, want the ten minutes since the start", lag)
		}
		w.stop(in)
	})
}
