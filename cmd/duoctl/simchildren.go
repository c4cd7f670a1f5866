package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"duo_in/duo/duotest"
)

// maxChildren bounds -children: each is a listener and some goroutines.
const maxChildren = 500

// accounts is how many accounts share the bounds of a log.
func (o simOptions) accounts() int { return o.children + 1 }

// checkChildren returns what is wrong with the flags that have to do with children.
func (o simOptions) checkChildren() error {
	if o.children < 0 || o.children > maxChildren {
		return fmt.Errorf("-children %q: want 0 to %d", fmt.Sprint(o.children), maxChildren)
	}
	if o.churn != 0 && (o.churn < time.Second || o.children < 2) {
		return fmt.Errorf("-churn %q: want 1s or more, with -children 2 or more", o.churn)
	}
	if o.children == 0 {
		return nil
	}
	_, port, _ := net.SplitHostPort(o.listen) // check has seen to it
	if n, err := net.LookupPort("tcp", port); err == nil && n+o.children > 65535 {
		return fmt.Errorf("-listen %q: with -children %d want a port of at most %d", o.listen, o.children, 65535-o.children)
	}
	return nil
}

// addChildren gives the server its children, which are the same at every start: the n-th listens n ports behind the
// server, or on any free port if -listen left that open.
func (o simOptions) addChildren(running *duotest.Running) ([]*duotest.Account, error) {
	host, _, err := net.SplitHostPort(o.apiHost(running.Addr))
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	_, port, _ := net.SplitHostPort(o.listen)
	first, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	children := make([]*duotest.Account, o.children)
	for i := range children {
		n, port := i+1, 0
		if first > 0 {
			port = first + n
		}
		children[i], err = running.AddChild(duotest.Child{
			ID: fmt.Sprintf("DACHILD%013d", n), Name: fmt.Sprintf("Customer %d", n), Host: net.JoinHostPort(host, strconv.Itoa(port)),
		})
		if err != nil {
			return nil, err
		}
	}
	return children, nil
}

// rotate takes the children away in turn, and gives each back just before the next one goes, at its old host, until the
// context ends. What happens at one that is gone is there when it comes back.
func (o simOptions) rotate(ctx context.Context, s *simulation, stdout, stderr io.Writer) {
	if o.churn == 0 {
		return
	}
	children := s.children()
	ticks := time.NewTicker(o.churn)
	defer ticks.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if n > 0 {
			back := children[(n-1)%len(children)].Child
			if _, err := s.running.AddChild(back); err == nil {
				fmt.Fprintf(stdout, "duoctl sim: child %s is back\n", back.ID)
			} else if ctx.Err() == nil {
				fmt.Fprintf(stderr, "duoctl sim: %v\n", err)
			}
		}
		gone := children[n%len(children)].Child
		s.running.RemoveChild(gone.ID)
		fmt.Fprintf(stdout, "duoctl sim: child %s has gone\n", gone.ID)
	}
}
