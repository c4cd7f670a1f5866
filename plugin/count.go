package main

import (
	"strconv"
	"strings"
)

// countName is Fluent Bit's count of an input's events.
const countName = "fluentbit_input_records_total"

// countIn reads it out of an input's metrics, which
// are in Prometheus' text format.
func countIn(metrics string) (uint64, bool) {
	for line := range strings.Lines(metrics) {
		labels, ok := strings.CutPrefix(line, countName+"{")
		if !ok {
			continue
		}
		// A label's value can hold blanks, the number cannot.
		n, err := strconv.ParseFloat(strings.TrimSpace(labels[strings.LastIndexByte(labels, '}')+1:]), 64)
		if err != nil || !(n >= 0 && n < 1<<53) {
			return 0, false
		}
		return uint64(n), true
	}
	return 0, false
}
