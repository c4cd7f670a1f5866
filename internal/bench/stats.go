package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// median is the middle of the values, of an even number the mean of the two in
// the middle; NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// percentile is the smallest of the values that at least a share p, 0 to 1, of
// them does not exceed (the nearest rank); NaN of none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return s[max(int(math.Ceil(p*float64(len(s))))-1, 0)]
}

// verdict is what a figure makes of its budget.
type verdict string

const (
	met      verdict = "met"
	goalMet  verdict = "met, the goal too"
	missed   verdict = "MISSED"
	told     verdict = ""             // there is no budget: for information
	unproven verdict = "not measured" // what it takes is not here
)

// budget is a bound of a figure, and one that is hoped for; 0 is none.
type budget struct {
	required, goal float64
	least          bool // the figure must be at least so large, not at most
}

// judge compares. A figure that is none, NaN, has missed.
func (b budget) judge(v float64) verdict {
	within := func(bound float64) bool { return v <= bound && !b.least || v >= bound && b.least }
	switch {
	case b.goal != 0 && within(b.goal):
		return goalMet
	case within(b.required):
		return met
	}
	return missed
}

// micros writes a time per record, in microseconds.
func micros(d float64) string { return fmt.Sprintf("%.1f µs", d) }

// megabytes writes bytes in units of 2^20.
func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }

// cost is what it took to bring so many records through.
type cost struct {
	cpu     time.Duration // user and system, of the whole process since its start
	elapsed time.Duration
	records int
}

// perRecord is the time of the processor in microseconds.
func (c cost) perRecord() float64 { return float64(c.cpu) / 1e3 / float64(c.records) }

// rate is records a second.
func (c cost) rate() float64 { return float64(c.records) / c.elapsed.Seconds() }

// medianOf is the median of one figure of several runs.
func medianOf(costs []cost, figure func(cost) float64) float64 { return median(figures(costs, figure)) }

// leastOf is the least: what else the machine does can only add to a cost.
func leastOf(costs []cost, figure func(cost) float64) float64 {
	return percentile(figures(costs, figure), 0)
}

func figures(costs []cost, figure func(cost) float64) (values []float64) {
	for _, c := range costs {
		values = append(values, figure(c))
	}
	return values
}

// thousands writes a whole number with a comma before each group of three.
func thousands(n float64) string {
	s := fmt.Sprintf("%.0f", n)
	for i := len(s) - 3; i > strings.Index(s, "-")+1; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
