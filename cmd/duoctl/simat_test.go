package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
)

func TestParseHappening(t *testing.T) {
	tests := []struct {
		text    string
		want    happening
		wantErr string // a part of it
	}{
		{text: "1m burst 5000", want: happening{after: time.Minute, kind: "burst", length: burstLength, events: 5000}},
		{text: " 0s  outage 30s ", want: happening{kind: "outage", length: 30 * time.Second}},
		{text: "90s hang 1h", want: happening{after: 90 * time.Second, kind: "hang", length: time.Hour}},
		{text: "", wantErr: "want"},
		{text: "1m outage", wantErr: `such as "1m outage 30s"`},
		{text: "1m outage for 30s", wantErr: `such as "1m outage 30s"`},
		{text: "1 outage 30s", wantErr: `time "1"`},
		{text: "-1s outage 30s", wantErr: `time "-1s"`},
		{text: "1m flood 30s", wantErr: `kind "flood": want burst, outage`},
		{text: "1m outage 0s", wantErr: `length "0s"`},
		{text: "1m burst 0", wantErr: `"0" events`},
		{text: "1m burst 30s", wantErr: `"30s" events`},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			got, err := parseHappening(test.text)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("error %v, want one with %q", err, test.wantErr)
				}
				return
			}
			test.want.text = test.text
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(happening{})); err != nil || diff != "" {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestHappeningEnds asserts that a fault meets the calls of its time only.
func TestHappeningEnds(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f, ok := happening{kind: "limited", after: time.Minute, length: 10 * time.Second}.fault(begin)
	if !ok || f.Kind != duotest.FaultStatus || f.Status != 429 || f.N >= 0 {
		t.Fatalf("fault %+v, %v; want each call answered with 429", f, ok)
	}
	for after, want := range map[time.Duration]bool{59 * time.Second: false, 60 * time.Second: true, 69 * time.Second: true, 70 * time.Second: false} {
		if got := f.Match(duotest.Call{At: begin.Add(after)}); got != want {
			t.Errorf("after %v: met %v, want %v", after, got, want)
		}
	}
	if _, ok := (happening{kind: burst}).fault(begin); ok {
		t.Error("a burst makes calls fail")
	}
}

// TestBurst counts the events of two bursts, with and without others.
func TestBurst(t *testing.T) {
	tests := map[string]struct {
		rate     float64
		at, want int // after so many seconds and a bit
	}{
		"before":         {0, 4, 0},
		"in the first":   {0, 10, 500},
		"after it":       {0, 20, 1000},
		"in the second":  {0, 35, 1100},
		"after both":     {0, 100, 1200},
		"with other":     {2, 100, 1400},
		"with slow ones": {0.01, 10, 500},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(test.at)*time.Second+time.Millisecond)
				defer cancel()
				server := duotest.New(duotest.Config{})
				o := simOptions{rate: test.rate, happenings: []happening{
					{kind: burst, after: 5 * time.Second, length: burstLength, events: 1000},
					{kind: burst, after: 30 * time.Second, length: burstLength, events: 200},
					{kind: "outage", after: time.Second, length: time.Minute},
				}}
				o.trickle(ctx, func() *duotest.Account { return server.Account }, duotest.Activity, duotest.NewGenerator(duotest.Activity, 1, duotest.Options{}))
				if got := server.Len(duotest.Activity); got != test.want {
					t.Errorf("%d events, want %d", got, test.want)
				}
			})
		})
	}
}

// TestAnnounce asserts that what happens is said when it does, whatever the order of the flags.
func TestAnnounce(t *testing.T) {
	o, err := parseSim([]string{"-at", "9s outage 1s", "-at", "3s burst 10", "-at", "1h denied 1s"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var out bytes.Buffer
		o.announce(ctx, time.Now(), &out)
		want := "duoctl sim: begins: 3s burst 10\nduoctl sim: begins: 9s outage 1s\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestDocumentedDay holds the command in docs/monitoring.md to what sim takes.
func TestDocumentedDay(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile("`duoctl sim (-[^`]+)`").FindSubmatch(doc)
	if command == nil {
		t.Fatal("docs/monitoring.md has no command")
	}
	var args []string
	for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(string(command[1]), -1) {
		args = append(args, m[1]+m[2])
	}
	if o, err := parseSim(args, io.Discard); err != nil || len(o.happenings) != 3 {
		t.Errorf("%q: %v, %d happenings, want 3", args, err, len(o.happenings))
	}
}
