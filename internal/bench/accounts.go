package main

import (
	"context"
	"fmt"
	"time"

	"duo_in/internal/flbtest"
)

// measureAccounts is a service provider's day in one process.
func measureAccounts(ctx context.Context, l *lab) ([]row, error) {
	n, poll := l.scale.children, l.scale.childPoll
	duo, err := startDuo(ctx, duoTask{Dir: l.dir, Children: n, Backlogs: small(time.Now())})
	if err != nil {
		return nil, err
	}
	defer duo.end()
	begin := time.Now()
	h, err := l.start(setting{kind: flbtest.CHost, duo: duo, options: []flbtest.Option{opt("accounts", "all"), opt("poll_interval", poll.String())}})
	if err != nil {
		return nil, err
	}
	defer h.Kill()
	var most flbtest.Usage
	for time.Since(begin) < l.scale.accounts {
		if err := wait(ctx, time.Second); err != nil {
			return nil, err
		}
		u, err := h.Usage()
		if err != nil {
			return nil, err
		}
		most.Files, most.Peak, most.Threads = max(most.Files, u.Files), u.Peak, max(most.Threads, u.Threads)
		most.CPU = u.CPU
	}
	calls, err := duo.calls(begin)
	if err != nil {
		return nil, err
	}
	at := regularity(calls, begin, time.Now())
	at.longest = max(at.longest, poll) // nobody is late before that
	l.say("%s at its peak, %s", megabytes(most.Peak), at)
	streams := 3 * n
	late := budget{required: (poll + 5*time.Second).Seconds()}.judge(at.longest.Seconds())
	if at.streams != streams || at.shortest < poll-time.Second {
		late = missed
	}
	how := fmt.Sprintf("the C host, poll_interval %v, %v from the start; each account a host of its own", poll, l.scale.accounts)
	return []row{
		{
			What: fmt.Sprintf("%d child accounts with 3 logs each, memory", n), Budget: "at most 150 MB", How: how + "; VmHWM",
			Verdict:  budget{required: 150}.judge(float64(most.Peak) / (1 << 20)),
			Measured: megabytes(most.Peak) + " at its peak",
		},
		{
			What: fmt.Sprintf("%d child accounts, how late a stream is asked", n), Budget: "each once in poll_interval, at most 5 s late",
			Verdict: late, Measured: fmt.Sprintf("%s; at most %.1f s without one", at, at.longest.Seconds()),
			How: "as Duo sees it, from the start to the end",
		},
		{
			What: fmt.Sprintf("%d child accounts, the load of the start", n), Budget: "first calls spread, connections and descriptors bounded",
			Measured: fmt.Sprintf("at most %d of %d first calls within a second; at most %d descriptors and %d threads; %.2f s of a core in %v",
				at.firstMost, at.streams, most.Files, most.Threads, most.CPU.Seconds(), l.scale.accounts),
			// As many calls as come evenly within the first minute, and as many again; a connection for each account, and some for the rest.
			Verdict: budget{required: 1}.judge(max(float64(at.firstMost)/max(2*float64(streams)/min(poll, time.Minute).Seconds(), 10), float64(most.Files)/float64(n+100))),
			How:     "twice an even spread over a minute, and one descriptor an account and 100 more, are within the bound",
		},
	}, nil
}
