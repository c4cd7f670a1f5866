package main

import (
	"slices"
	"time"

	"duo_in/duo"
)

// metricPrefix is what the names of all metrics begin with, as Fluent Bit joins
// them: namespace and subsystem.
var metricPrefix = [2]string{"duo", "in"}

// metric is one of the plugin's own in Fluent Bit's endpoints. Everything about
// it comes from its row in metrics: what the host is told, how its value is
// read, and what the documentation says.
type metric struct {
	name     string // without its prefix
	gauge    bool   // else a counter
	help     string // without a full stop, as the host's own
	outcomes []outcome
	ofInput  bool // one value for the whole input: it has neither log nor account
	// read is the value of a stream; outcome is an index of outcomes.
	read func(r reading, outcome int) float64
	// fold makes one value of several accounts'.
	fold fold
}

var metrics = []metric{
	{
		name: "records_total", help: "Events that Fluent Bit took over", fold: sum,
		read: func(r reading, _ int) float64 { return float64(r.records) },
	}, {
		name: "bytes_total", help: "Bytes of these events, in Fluent Bit's own encoding", fold: sum,
		read: func(r reading, _ int) float64 { return float64(r.bytes) },
	}, {
		name: "calls_total", help: "Calls to Duo", outcomes: callOutcomes[:], fold: sum,
		read: func(r reading, outcome int) float64 { return float64(r.Calls[outcome]) },
	}, {
		name: "pace_seconds", gauge: true, help: "Time from one call to the next while catching up, as found by what Duo allows; 0: as soon as Duo answers", fold: highest,
		read: func(r reading, _ int) float64 { return r.Pace.Seconds() },
	}, {
		name: "duplicates_dropped_total", help: "Events that Duo sent again, as it must within the overlap, and that were dropped", fold: sum,
		read: func(r reading, _ int) float64 { return float64(r.Duplicates) },
	}, {
		name: "late_events_total", help: "Events that Duo filed later than the overlap allows for: others like them may be missed", fold: sum,
		read: func(r reading, _ int) float64 { return float64(r.Late) },
	}, {
		name: "lag_seconds", gauge: true, help: "Age of the moment up to which Fluent Bit has been given all events, less the delay", fold: highest,
		read: func(r reading, _ int) float64 { return r.lag().Truncate(time.Second).Seconds() },
	}, {
		name: "last_success_timestamp_seconds", gauge: true, help: "When Duo last answered with a page, in Unix time; 0: not since the start", fold: lowest,
		read: func(r reading, _ int) float64 {
			if r.LastSuccess.IsZero() {
				return 0
			}
			return float64(r.LastSuccess.Unix())
		},
	}, {
		name: "commits_total", help: "Checkpoints to be written", outcomes: []outcome{{name: "ok"}, {name: "failed"}}, fold: sum,
		read: func(r reading, outcome int) float64 { return float64(r.commits[outcome]) },
	}, {
		name: "queue_bytes", gauge: true, help: "Memory that events take while they wait for Fluent Bit", ofInput: true, fold: sum,
		read: func(r reading, _ int) float64 { return float64(r.queued) },
	}, {
		name: "up", gauge: true, help: "1 while the last call brought a page, 0 while it did not or none was made", fold: mean,
		read: func(r reading, _ int) float64 {
			if r.Up && r.pulled {
				return 1
			}
			return 0
		},
	},
}

// outcome is a value of the label outcome, and what it stands for.
type outcome struct{ name, means string }

var callOutcomes = [...]outcome{
	duo.OK:          {"ok", "a page"},
	duo.Limited:     {"limited", "HTTP 429"},
	duo.Rejected:    {"rejected", "400"},
	duo.Denied:      {"denied", "401, 403"},
	duo.Missing:     {"missing", "404, 410"},
	duo.Unavailable: {"unavailable", "any other, no answer, or one that is no page"},
}

// labels are the names of the metric's labels.
func (m *metric) labels() []string {
	names := []string{"input"}
	if !m.ofInput {
		names = append(names, "log", "account")
	}
	if m.outcomes != nil {
		names = append(names, "outcome")
	}
	return names
}

// fold is how values of several accounts become one.
type fold struct {
	name string // for the documentation
	of   func([]float64) float64
}

var (
	sum = fold{"the sum", func(vs []float64) (s float64) {
		for _, v := range vs {
			s += v
		}
		return s
	}}
	highest = fold{"the highest", slices.Max[[]float64]}
	lowest  = fold{"the lowest", slices.Min[[]float64]}
	mean    = fold{"the mean: the share that is up", func(vs []float64) float64 { return sum.of(vs) / float64(len(vs)) }}
)
