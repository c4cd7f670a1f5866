package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"duo_in/duo/duotest"
)

// backlog is what a log holds: an event every Step, the newest of N at End.
type backlog struct {
	End  time.Time
	Step time.Duration
	N    int
}

// at is the time of the i-th event, the oldest is 0.
func (b backlog) at(i int) time.Time { return b.End.Add(-time.Duration(b.N-1-i) * b.Step) }

// since is a time from which on there are n events.
func (b backlog) since(n int) time.Time { return b.at(b.N - n).Add(-b.Step / 2) }

// from is how many events there are from a time on.
func (b backlog) from(since time.Time) int {
	if since.After(b.End) {
		return 0
	}
	return min(int(b.End.Sub(since)/b.Step)+1, b.N)
}

// perDay is a large tenant.
const perDay = 100_000

// tenant is a past of n authentication events, and of a tenth as many in each of
// the other logs that are read by default. Their newest are old enough to be
// shown.
func tenant(n int, now time.Time) map[string]backlog {
	end, step := now.Add(-3*time.Minute).Truncate(time.Second), (24 * time.Hour / perDay)
	return map[string]backlog{
		duotest.Authentication: {end, step, n},
		duotest.Activity:       {end, 10 * step, n / 10},
		duotest.Telephony:      {end, 10 * step, n / 10},
	}
}

// duoTask is the task of the role duo.
type duoTask struct {
	Dir      string             // for ca.pem
	Backlogs map[string]backlog // of each account, by log
	Children int                // child accounts, each at a port of its own
	Latency  time.Duration      // before each answer
	Tail     string             // file for the authentication events, each a line; "" for none
}

// access is how to reach a simulated Duo.
type access struct {
	Addr string // host:port
	CA   string // file
}

// serveDuo is the role duo: a simulated Duo over TLS. It answers its access, and
// then each line with the calls so far.
func serveDuo(task []byte, in *bufio.Scanner, out io.Writer) error {
	var t duoTask
	if err := json.Unmarshal(task, &t); err != nil {
		return err
	}
	debug.SetGCPercent(25) // events by the million stay, and little else is made
	server := duotest.New(duotest.Config{Latency: t.Latency})
	running := server.StartTLS()
	defer running.Close()
	accounts := []*duotest.Account{server.Account}
	for i := range t.Children {
		a, err := running.AddChild(duotest.Child{ID: fmt.Sprintf("DACHILD%013d", i+1), Name: fmt.Sprint("Customer ", i+1)})
		if err != nil {
			return err
		}
		accounts = append(accounts, a)
	}
	for i, a := range accounts {
		for log, b := range t.Backlogs {
			if err := fill(a, log, b, uint64(i+1), t.Tail); err != nil {
				return err
			}
		}
	}
	ca, err := running.CAFile(t.Dir)
	if err != nil {
		return err
	}
	answers := json.NewEncoder(out)
	if err := answers.Encode(access{running.Addr, ca}); err != nil {
		return err
	}
	for in.Scan() {
		if err := answers.Encode(server.Calls()); err != nil {
			return err
		}
	}
	return in.Err()
}

// fill gives a log its backlog, and writes that of authentication to tail too.
func fill(a *duotest.Account, log string, b backlog, seed uint64, tail string) error {
	g := duotest.NewGenerator(log, seed, duotest.Options{})
	records := make([]json.RawMessage, b.N)
	for i := range records {
		records[i] = g.At(b.at(i))
	}
	a.Add(log, records...)
	if tail == "" || log != duotest.Authentication {
		return nil
	}
	var lines bytes.Buffer
	for _, r := range records {
		lines.Write(append(r, '\n'))
	}
	return os.WriteFile(tail, lines.Bytes(), 0o600)
}

// simulated is a simulated Duo in a process of its own.
type simulated struct {
	access
	backlogs map[string]backlog
	actor    *actor
}

// startDuo starts one and waits until it holds its events. The end of ctx kills
// it.
func startDuo(ctx context.Context, t duoTask) (*simulated, error) {
	a, err := startActor(ctx, "duo", t)
	if err != nil {
		return nil, err
	}
	s := &simulated{backlogs: t.Backlogs, actor: a}
	return s, a.read(&s.access)
}

// since is the option of that name that leaves n authentication events to be
// read, and all is how many of the logs together that makes.
func (s *simulated) since(n int) (option string, all int) {
	at := s.backlogs[duotest.Authentication].since(n)
	for _, b := range s.backlogs {
		all += b.from(at)
	}
	return at.UTC().Format(time.RFC3339Nano), all
}

// calls are those that were made since a time.
func (s *simulated) calls(since time.Time) (calls []duotest.Call, err error) {
	err = s.actor.ask("calls", &calls)
	return slices.DeleteFunc(calls, func(c duotest.Call) bool { return c.At.Before(since) }), err
}

func (s *simulated) end() {
	if err := s.actor.end(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}
