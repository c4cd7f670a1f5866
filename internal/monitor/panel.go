package monitor

// kind is how a panel shows its queries.
type kind string

const (
	stat     kind = "stat"           // the value of now, in a colour
	graph    kind = "timeseries"     // lines
	areas    kind = "areas"          // lines on top of each other
	timeline kind = "state-timeline" // a bar for each stream
)

// query is what a panel asks Prometheus. $job to $account are what the reader
// has chosen; Grafana's $__rate_interval and $__range are there too.
type query struct {
	expr   string
	legend string // {{label}} is the label's value
}

// step is the colour from a value on.
type step struct {
	from  float64
	color string
}

// panel is one picture of the dashboards.
type panel struct {
	kind    kind
	title   string
	about   string // what it means, for who does not know it
	unit    string // Grafana's: none, s, bytes, Bps
	queries []query
	steps   []step            // of a stat, its colours; of a graph, lines; the first begins below all
	colors  map[string]string // by legend
}

// row is a headline and the panels below it, which share its width.
type row struct {
	title  string
	panels [][]panel
}

// What the reader has chosen, for the metrics that have these labels: Fluent
// Bit's own call an input's, and an output's, name "name".
const (
	ofHost   = `job=~"$job", instance=~"$instance"`
	ofInput  = ofHost + `, input=~"$input"`
	ofStream = ofInput + `, log=~"$log", account=~"$account"`
	ofNamed  = ofHost + `, name=~"$input"`
)

// firing are the alerts of deploy/prometheus/alerts.yml.
const firing = `ALERTS{alertname=~"DuoIn.+", alertstate="firing"}`

var (
	outcomeColors = map[string]string{
		"ok": "green", "limited": "orange", "rejected": "dark-red", "denied": "red", "missing": "purple", "unavailable": "yellow", "failed": "red",
	}
	anyIs   = []step{{0, "green"}, {1, "red"}}
	neutral = []step{{0, "blue"}}
)

var dashboard = []row{
	{"Is everything well?", [][]panel{
		{
			{kind: stat, title: "Alerts", unit: "none", steps: anyIs,
				about:   "How many of the alerts of deploy/prometheus/alerts.yml are firing.",
				queries: []query{{expr: `count(` + firing + `) or vector(0)`}}},
			{kind: stat, title: "Streams", unit: "none", steps: neutral,
				about:   "How many logs of how many accounts are read.",
				queries: []query{{expr: `count(duo_in_up{` + ofStream + `})`}}},
			{kind: stat, title: "In trouble", unit: "none", steps: anyIs,
				about:   "Streams whose last call failed. The log says why.",
				queries: []query{{expr: `count(duo_in_up{` + ofStream + `} < 1) or 0 * count(duo_in_up{` + ofStream + `})`}}},
			{kind: stat, title: "Last success", unit: "s", steps: []step{{0, "green"}, {300, "orange"}, {900, "red"}},
				about:   "The longest that a stream has been without a successful call. When idle, it is up to poll_interval.",
				queries: []query{{expr: `max(time() - (duo_in_last_success_timestamp_seconds{` + ofStream + `} > 0))`}}},
			{kind: stat, title: "Behind", unit: "s", steps: []step{{0, "green"}, {600, "orange"}, {1800, "red"}},
				about:   "How far the stream that is furthest behind is.",
				queries: []query{{expr: `max(duo_in_lag_seconds{` + ofStream + `})`}}},
			{kind: stat, title: "Events per second", unit: "none", steps: neutral,
				about:   "Events that Fluent Bit took over.",
				queries: []query{{expr: `sum(rate(duo_in_records_total{` + ofStream + `}[$__rate_interval]))`}}},
			{kind: stat, title: "Chunks waiting", unit: "none", steps: []step{{0, "green"}, {50, "orange"}},
				about:   "Chunks of these events that an output has yet to deliver. Many, and more and more: an output is down.",
				queries: []query{{expr: `sum(fluentbit_input_storage_chunks{` + ofNamed + `})`}}},
			{kind: stat, title: "Dropped", unit: "none", steps: anyIs,
				about:   "Records that outputs gave up in the time shown. Fluent Bit has them no more; duoctl checkpoint rewind fetches them again.",
				queries: []query{{expr: `sum(increase(fluentbit_output_dropped_records_total{` + ofHost + `}[$__range]))`}}},
		},
		{
			{kind: timeline, title: "Streams over time", unit: "none", steps: []step{{0, "red"}, {1, "green"}},
				about:   "Green: the last call of the stream succeeded. Red: it is in trouble.",
				queries: []query{{`min by (input, log, account) (duo_in_up{` + ofStream + `})`, "{{input}} {{log}} {{account}}"}}},
		},
	}},
	{"Events", [][]panel{{
		{kind: graph, title: "Events per second", unit: "none",
			about:   "Events that Fluent Bit took over, by log.",
			queries: []query{{`sum by (log) (rate(duo_in_records_total{` + ofStream + `}[$__rate_interval]))`, "{{log}}"}}},
		{kind: graph, title: "Behind", unit: "s",
			about:   "How long ago the moment is up to which all events have been delivered, less the delay. When all is well, it stays below poll_interval and a bit.",
			queries: []query{{`max by (log) (duo_in_lag_seconds{` + ofStream + `})`, "{{log}}"}}},
		{kind: graph, title: "Bytes per second", unit: "Bps",
			about:   "What Fluent Bit took over, in its own encoding, by log.",
			queries: []query{{`sum by (log) (rate(duo_in_bytes_total{` + ofStream + `}[$__rate_interval]))`, "{{log}}"}}},
	}}},
	{"Duo", [][]panel{
		{
			{kind: areas, title: "Calls per minute", unit: "none", colors: outcomeColors,
				about:   "By outcome: ok, limited (429), rejected (400), denied (401, 403), missing (404, 410), unavailable (5xx, no answer or a broken one).",
				queries: []query{{`60 * sum by (outcome) (rate(duo_in_calls_total{` + ofStream + `}[$__rate_interval]))`, "{{outcome}}"}}},
			{kind: graph, title: "429s per minute", unit: "none",
				about:   "Calls that Duo turned away since there were too many, by log.",
				queries: []query{{`60 * sum by (log) (rate(duo_in_calls_total{` + ofStream + `, outcome="limited"}[$__rate_interval]))`, "{{log}}"}}},
			{kind: graph, title: "Pause between calls", unit: "s",
				about:   "The pace that was found: how long duo_in waits between two calls while it catches up, by log.",
				queries: []query{{`max by (log) (duo_in_pace_seconds{` + ofStream + `})`, "{{log}}"}}},
		},
		{
			{kind: graph, title: "Since the last success", unit: "s", steps: []step{{0, "transparent"}, {900, "red"}},
				about:   "The time since the last successful call, by log. The line is where DuoInStalled begins.",
				queries: []query{{`max by (log) (time() - (duo_in_last_success_timestamp_seconds{` + ofStream + `} > 0))`, "{{log}}"}}},
			{kind: graph, title: "Duplicates and late events per minute", unit: "none",
				about: "Duplicates are read again within the overlap, and dropped: they are as they should be. Late events were filed by Duo later than the overlap allows for: make it longer.",
				queries: []query{
					{`60 * sum(rate(duo_in_duplicates_dropped_total{` + ofStream + `}[$__rate_interval]))`, "duplicates dropped"},
					{`60 * sum(rate(duo_in_late_events_total{` + ofStream + `}[$__rate_interval]))`, "late events"},
				}},
			{kind: areas, title: "Checkpoints per minute", unit: "none", colors: outcomeColors,
				about:   "Checkpoints that were written, and that could not be. While they fail, a restart brings events again.",
				queries: []query{{`60 * sum by (outcome) (rate(duo_in_commits_total{` + ofStream + `}[$__rate_interval]))`, "{{outcome}}"}}},
		},
	}},
	{"Fluent Bit", [][]panel{{
		{kind: graph, title: "Queue of duo_in", unit: "bytes",
			about:   "What waits to be taken over by Fluent Bit. When it is full, Duo is not called.",
			queries: []query{{`sum by (input) (duo_in_queue_bytes{` + ofInput + `})`, "{{input}}"}}},
		{kind: graph, title: "Chunks waiting", unit: "none",
			about:   "Chunks of these events that an output has yet to deliver.",
			queries: []query{{`sum by (name) (fluentbit_input_storage_chunks{` + ofNamed + `})`, "{{name}}"}}},
		{kind: graph, title: "Records delivered per second", unit: "none",
			about:   "By output, from all inputs of that Fluent Bit.",
			queries: []query{{`sum by (name) (rate(fluentbit_output_proc_records_total{` + ofHost + `}[$__rate_interval]))`, "{{name}}"}}},
		{kind: graph, title: "Retries and drops per minute", unit: "none",
			about: "By output, from all inputs of that Fluent Bit. A chunk that is retried waits; a record that is dropped is gone.",
			queries: []query{
				{`60 * sum by (name) (rate(fluentbit_output_retries_total{` + ofHost + `}[$__rate_interval]))`, "{{name}} retries"},
				{`60 * sum by (name) (rate(fluentbit_output_dropped_records_total{` + ofHost + `}[$__rate_interval]))`, "{{name}} dropped records"},
			}},
	}}},
}
