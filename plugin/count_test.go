package main

import "testing"

func TestCountsIn(t *testing.T) {
	for _, tc := range []struct {
		name, metrics string
		want          uint64
		ok            bool
		appended      uint64
	}{
		{name: "nothing"},
		{name: "Fluent Bit's", metrics: `# HELP fluentbit_input_bytes_total Number of input bytes.
# TYPE fluentbit_input_bytes_total counter
fluentbit_input_bytes_total{name="duo.0"} 123456

# HELP fluentbit_input_records_total Number of input records.
# TYPE fluentbit_input_records_total counter
fluentbit_input_records_total{name="duo.0"} 42

# HELP fluentbit_input_ring_buffer_writes_total Number of ring buffer writes.
# TYPE fluentbit_input_ring_buffer_writes_total counter
fluentbit_input_ring_buffer_writes_total{name="duo.0"} 7
`, want: 42, ok: true, appended: 7},
		{name: "an alias with all sorts of characters", metrics: `fluentbit_input_records_total{name="a} 7 b"} 12` + "\n", want: 12, ok: true},
		{name: "static labels", metrics: `fluentbit_input_records_total{env="lab",name="duo.0"} 3`, want: 3, ok: true},
		{name: "many", metrics: `fluentbit_input_records_total{name="duo.0"} 1.2345678901e+10`, want: 12345678901, ok: true},
		{name: "no number", metrics: `fluentbit_input_records_total{name="duo.0"} NaN`},
		{name: "less than nothing", metrics: `fluentbit_input_records_total{name="duo.0"} -1`},
		{name: "cut off", metrics: `fluentbit_input_records_total{name="duo.0`},
	} {
		c := countsIn(tc.metrics)
		if c.records.ok != tc.ok || tc.ok && c.records.n != tc.want {
			t.Errorf("%s: got %+v, want %d, %v", tc.name, c.records, tc.want, tc.ok)
		}
		if want := (count{tc.appended, tc.appended > 0}); c.appended != want || c.dropped.ok {
			t.Errorf("%s: got %+v appended, want %+v, and %+v dropped, want none", tc.name, c.appended, want, c.dropped)
		}
	}
}
