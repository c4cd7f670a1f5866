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
				o.trickle(ctx, server, duotest.Telephony, duotest.NewGenerator(duotest.Telephony, 1, duotest.Options{}))
				// A tick that is not due yet may owe its share.
				if got := server.Len(duotest.Telephony); got > test.want || got < test.want-1-int(test.rate/50) {
					t.Errorf("%d events at %g/s, want %d", got, test.rate, test.want)
				}
			})
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
	o.fill(server, time.Now())
	for log, want := range map[string]int{duotest.Authentication: 0, duotest.Activity: 10, duotest.Telephony: 10} {
		if got := server.Len(log); got != want {
			t.Errorf("%s: %d records, want %d", log, got, want)
		}
	}
}
