package main

import (
	"strconv"
	"strings"
)

// countPrefix is what the names of the counts begin with.
const countPrefix = "fluentbit_input_r"

// counts is what the host has counted of an input so far.
type counts struct {
	records  count // events that left the ring
	appended count // batches that the ring took, and
	dropped  count // those that found it full for a second; from 4.1 on
}

// count is a number, if there is one.
type count struct {
	n  uint64
	ok bool
}

// after reports whether a count is known and has risen.
func (c count) after(before count) bool { return c.ok && before.ok && c.n > before.n }

// countsIn reads them out of an input's metrics, which are in Prometheus' text
// format.
func countsIn(metrics string) (c counts) {
	names := map[string]*count{
		"fluentbit_input_records_total":                    &c.records,
		"fluentbit_input_ring_buffer_writes_total":         &c.appended,
		"fluentbit_input_ring_buffer_retry_failures_total": &c.dropped,
	}
	for line := range strings.Lines(metrics) {
		name, labels, _ := strings.Cut(line, "{")
		if to := names[name]; to != nil {
			// A label's value can hold blanks, the number cannot.
			n, err := strconv.ParseFloat(strings.TrimSpace(labels[strings.LastIndexByte(labels, '}')+1:]), 64)
			*to = count{uint64(n), err == nil && n >= 0 && n < 1<<53}
		}
	}
	return c
}
