//go:build cgo

package scenario

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// addChild gives the provider a child account with n events in each log.
func (b *bed) addChild(number, n int) *duotest.Account {
	b.t.Helper()
	child, err := b.duo.AddChild(duotest.Child{ID: fmt.Sprintf("DACHILD%013d", number), Name: fmt.Sprint("Customer ", number)})
	if err != nil {
		b.t.Fatal(err)
	}
	now := time.Now()
	for i, log := range duotest.Logs() {
		child.Add(log, duotest.NewRecords(log, uint64(10*number+i), now.Add(-20*time.Hour), now.Add(-time.Hour), n)...)
	}
	return child
}

// arrived counts a child's events by Duo's id, in all logs.
func (d *delivery) arrived() map[string]map[string]int {
	d.update()
	by := map[string]map[string]int{}
	for _, r := range d.all {
		account := r.String("account_id")
		if by[account] == nil {
			by[account] = map[string]int{}
		}
		by[account][r.String("eventtype")+" "+r.String(idKeys[r.String("eventtype")])]++
	}
	return by
}

// absentOf counts what a child has and has not arrived, and what came twice or
// is not its own.
func absentOf(child *duotest.Account, got map[string]int) (missing, extra int) {
	left := map[string]int{}
	for _, log := range duotest.Logs() {
		for _, id := range child.IDs(log) {
			left[log+" "+id]++
		}
	}
	for id, n := range got {
		left[id] -= n
	}
	for _, n := range left {
		missing, extra = missing+max(n, 0), extra+max(-n, 0)
	}
	return missing, extra
}

// Fifty children with three logs each, one of which Duo does not let its parent
// read: each of the others arrives whole and once, under its own account_id, and
// each call goes to the child's own host. With -patient one more child comes and
// one goes while it runs, which Duo's list tells after ten minutes.
func TestServiceProvider(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		var children []*duotest.Account
		for number := range 50 {
			children = append(children, b.addChild(number, 20))
		}
		denied := children[49]
		denied.SetPermissions(false)
		b.backlog(20, duotest.Logs()...) // the parent's own, which are not to come
		p := b.start(b.input("duo", opt("accounts", "all"), opt("poll_interval", "10s")))
		d := b.delivery("duo")
		b.whole50(d, children[:49])
		if *patient {
			gone := children[7]
			b.duo.RemoveChild(gone.ID)
			more := b.addChild(50, 20)
			b.waitFor("events of the child that was added", 13*time.Minute, func() bool {
				missing, _ := absentOf(more, d.arrived()[more.ID])
				return missing == 0
			})
			children = append(children[:49], more)
			for _, line := range []string{"new: " + more.ID, "gone, their checkpoints are kept: " + gone.ID} {
				if !strings.Contains(p.Log(), line) {
					b.t.Errorf("the log has no %q", line)
				}
			}
		}
		pause(settled) // a stop within half a second of the last events would bring those again
		b.stop(p)
		b.whole50(d, children[:49])
		if got := d.arrived(); len(got[""]) > 0 || len(got[denied.ID]) > 0 {
			b.t.Errorf("%d events of the parent's and %d of the denied child's arrived", len(got[""]), len(got[denied.ID]))
		}
		b.callsAtHome(children)
		if !strings.Contains(p.Log(), "of "+denied.ID+": Duo denies access") {
			b.t.Error("the log does not say that the child is denied")
		}

		// A restart goes on where it was.
		for _, child := range children[:5] {
			child.Add(duotest.Activity, duotest.NewGenerator(duotest.Activity, 99, duotest.Options{}).At(time.Now().Add(-3*time.Minute)))
		}
		before := len(b.server.Calls())
		p = b.start(b.input("duo", opt("accounts", "all"), opt("poll_interval", "10s")))
		b.waitFor("call for each log", time.Minute, func() bool { return logsCalled(b.server.Calls()[before:]) >= 3*49 })
		b.whole50(d, children[:49])
		b.stop(p)
		b.whole50(d, children[:49])
	})
}

// logsCalled is how many logs of accounts there are calls for that were answered.
func logsCalled(calls []duotest.Call) int {
	called := map[string]bool{}
	for _, c := range calls {
		if c.Log != "" && c.Status == http.StatusOK {
			called[c.Account+" "+c.Log] = true
		}
	}
	return len(called)
}

// whole50 waits until the children's events are there, and none of them twice.
func (b *bed) whole50(d *delivery, children []*duotest.Account) {
	b.t.Helper()
	missing, extra := 0, 0
	b.waitFor("end of what is missing of the children", 90*time.Second, func() bool {
		got := d.arrived()
		missing, extra = 0, 0
		for _, child := range children {
			m, e := absentOf(child, got[child.ID])
			missing, extra = missing+m, extra+e
		}
		return missing == 0
	})
	if extra > 0 {
		b.t.Errorf("%d events came twice, or under another account than their own", extra)
	}
}

// callsAtHome asserts that each call for a log went to the host of the account
// that it was for.
func (b *bed) callsAtHome(children []*duotest.Account) {
	b.t.Helper()
	hosts := map[string]string{}
	for _, child := range children {
		hosts[child.ID] = child.Host
	}
	for _, call := range b.server.Calls() {
		host, ok := hosts[call.Account]
		if call.Astray || call.Log != "" && (call.Account == "" || ok && host != call.Host) {
			b.t.Fatalf("a call for account %q went to %s: %+v", call.Account, call.Host, call)
		}
	}
}

// An input of all children beside one of the parent itself, and one of some of
// the children, which is refused.
func TestServiceProviderBesideOthers(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		child := b.addChild(1, 20)
		b.backlog(20, duotest.Logs()...)
		p := b.start(b.input("parent"), b.input("children", opt("accounts", "all")))
		d := b.delivery("children")
		b.delivery("parent").awaitAll(time.Minute, duotest.Logs()...)
		b.whole50(d, []*duotest.Account{child})
		b.stop(p)

		if b.kind == flbtest.CHost {
			p = b.start(b.input("all", opt("accounts", "all")), b.input("one", opt("accounts", child.ID)))
			b.refused(p, `authentication.*\.accounts\.authentication\.lock is held by \[INPUT\] duo\.0`)
		}
	})
}
