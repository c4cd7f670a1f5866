package main

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo/duotest"
)

// TestTrickle counts the events of some virtual minutes at rates below and above that of its ticks.
func TestTrickle(t *testing.T) {
	tests := map[string]struct {
		rate float64
		want int // after 100 s and a bit
	}{
		"none":          {0, 0},
		"slow":          {0.05, 5},
		"default":       {2, 200},
		"fast":          {200, 20_000},
		"odd":           {0.3, 30},
		"between ticks": {70, 7000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second+time.Millisecond)
				defer cancel()
				server := duotest.New(duotest.Config{})
				o := simOptions{rate: test.rate}
				o.trickle(ctx, func() *duotest.Account { return server.Account }, duotest.Telephony, duotest.NewGenerator(duotest.Telephony, 1, duotest.Options{}))
				// A tick that is not due yet may owe its share.
				if got := server.Len(duotest.Telephony); got > test.want || got < test.want-1-int(test.rate/50) {
					t.Errorf("%d events at %g/s, want %d", got, test.rate, test.want)
				}
			})
		})
	}
}

// TestDefaultBacklog asserts that many children do not fill the memory unless -backlog says so.
func TestDefaultBacklog(t *testing.T) {
	tests := map[string]struct {
		args          []string
		backlog, keep int
	}{
		"no children":          {nil, 1000, 101_000},
		"some":                 {[]string{"-children", "9"}, 1000, 11_000},
		"many":                 {[]string{"-children", "499"}, 200, 400},
		"many of one log":      {[]string{"-children", "499", "-logs", "activity"}, 600, 800},
		"many, and -backlog":   {[]string{"-children", "499", "-backlog", "1000"}, 1000, 1200},
		"many, and small keep": {[]string{"-children", "499", "-keep", "100"}, 200, 201},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := parseSim(test.args, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if keep := o.config(io.Discard, io.Discard).Keep; o.backlog != test.backlog || keep != test.keep {
				t.Errorf("backlog %d, keep %d; want %d, %d", o.backlog, keep, test.backlog, test.keep)
			}
		})
	}
}

// TestFlagsReachTheServer asserts what cannot be seen from outside without waiting.
func TestFlagsReachTheServer(t *testing.T) {
	o, err := parseSim([]string{"-delay", "0", "-backlog", "10", "-keep", "20", "-logs", " activity , telephony", "-budget", "7"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c := o.config(io.Discard, io.Discard)
	if c.Delay >= 0 || c.Keep != 30 || c.Budget != 7 || o.seed == 0 {
		t.Errorf("Delay %v, Keep %d, Budget %d, seed %d; want none, 30, 7, one of the clock", c.Delay, c.Keep, c.Budget, o.seed)
	}
	server := duotest.New(c)
	o.fill(server.Account, o.seed, time.Now())
	for log, want := range map[string]int{duotest.Authentication: 0, duotest.Activity: 10, duotest.Telephony: 10} {
		if got := server.Len(log); got != want {
			t.Errorf("%s: %d records, want %d", log, got, want)
		}
	}
}

func TestSimDue(t *testing.T) {
	tests := []struct {
		name   string
		rate   float64
		passed time.Duration
		made   int
		want   int
	}{
		{"none yet", 2, 400 * time.Millisecond, 0, 0},
		{"one", 2, 500 * time.Millisecond, 0, 1},
		{"late", 300, time.Second, 100, 200},
		{"a tick from before", 300, time.Second, 306, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (simOptions{rate: tt.rate}).due(tt.passed, tt.made); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
