package duotest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// accountList is the path of the Accounts API's list. Its calls are POSTs to the parent's host, and use up no budget.
const accountList = "/accounts/v1/account/list"

// Child is a child account of a managed service provider, as the Accounts API lists it.
type Child struct {
	ID   string // account_id
	Name string
	Host string // api_hostname, with the port if there is one: what clients sign
}

// Account is one account: its logs, budgets and permissions. A Server has one of its own, the parent's, and one for each
// child. The handle of a child that was removed stays good for what the child held.
type Account struct {
	Child // of the parent's own: zero, but for Host, which is Config.Host

	server    *Server // its mu guards all that follows
	journals  map[string]*journal
	budgets   map[string]*budget
	forbidden map[string]bool
	retired   map[string]int // status by log
	counts    tally
}

func newAccount(s *Server, c Child) *Account {
	a := &Account{
		Child: c, server: s,
		journals: map[string]*journal{}, budgets: map[string]*budget{}, forbidden: map[string]bool{}, retired: map[string]int{}, counts: tally{},
	}
	for i, k := range kinds {
		a.journals[k.name] = &journal{kind: k, keep: s.config.Keep}
		if i == 0 || !s.config.BudgetShared {
			a.budgets[k.name] = newBudget(s.config, s.config.Now())
		} else {
			a.budgets[k.name] = a.budgets[kinds[0].name]
		}
	}
	return a
}

// Add files records that Duo shows once they are older than the delay, in the v1 logs at once. Time and id are read from the record itself; one
// without a readable time is filed under the present, one without an id is served all the same. The bytes are served as
// they are and must not be changed afterwards. Add panics on a log that does not exist and on what is no JSON object.
func (a *Account) Add(log string, records ...json.RawMessage) {
	a.AddAt(log, time.Time{}, records...)
}

// AddAt files records that are shown from at on, and not before Add would show them: events that Duo files late. A record without a readable time is filed under at.
func (a *Account) AddAt(log string, at time.Time, records ...json.RawMessage) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	j := a.journal(log)
	fallback := at
	if at.IsZero() {
		fallback = a.server.config.Now()
	}
	entries := make([]entry, len(records))
	for i, raw := range records {
		entries[i] = j.kind.read(raw, fallback)
	}
	if at.IsZero() {
		j.file(entries)
	} else {
		j.hold(at, entries)
	}
}

// Len returns how many records of the log the account holds, shown or not.
func (a *Account) Len(log string) int {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	j := a.journal(log)
	return len(j.entries) + len(j.held)
}

// IDs returns the ids of the log's records in the order (millisecond, id), shown or not, "" for a record without one.
func (a *Account) IDs(log string) []string {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	return a.journal(log).ids()
}

// Records returns the log's records in the order (millisecond, id, as added), shown or not. Those of the v1 logs have no id,
// and are told apart by nothing else: equal ones are as many as were added.
func (a *Account) Records(log string) []json.RawMessage {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	records := []json.RawMessage{}
	for _, e := range a.journal(log).all() {
		records = append(records, e.raw)
	}
	return records
}

// SetBudget changes how many calls are allowed, from now on, of each log or of all together as Config.BudgetShared has it.
// What was used up stays so.
func (a *Account) SetBudget(calls int) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	for _, b := range a.budgets {
		b.resize(calls)
	}
}

// SetPermission grants or withdraws the right to read a log; without it the log answers 403 40301.
func (a *Account) SetPermission(log string, allowed bool) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.forbidden[a.journal(log).kind.name] = !allowed
}

// Retire makes a log answer as one that Duo has ended, or that the account's edition lacks: with Duo's body for that status,
// 403, 404 or 410. Status 0 brings it back. Any other status panics.
func (a *Account) Retire(log string, status int) {
	if !slices.Contains([]int{0, http.StatusForbidden, http.StatusNotFound, http.StatusGone}, status) {
		panic(fmt.Sprintf("duotest: status %d of a retired log: want 403, 404, 410 or 0", status))
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.retired[a.journal(log).kind.name] = status
}

// SetPermissions does for all logs what SetPermission does for one. Without it a child is one of another deployment.
func (a *Account) SetPermissions(allowed bool) {
	for _, k := range kinds {
		a.SetPermission(k.name, allowed)
	}
}

func (a *Account) journal(log string) *journal {
	if j := a.journals[log]; j != nil {
		return j
	}
	panic(fmt.Sprintf("duotest: log %q: want one of %q", log, AllLogs()))
}

// AddChild gives the parent one more child, which the list shows from now on. Its host must reach this server: over a Pipe
// any does, over sockets see Running.AddChild. One that was removed comes back with what it held, at its new host; then old handles lead to it as well. It
// panics on an id or a host that is empty or taken.
func (s *Server) AddChild(c Child) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.children {
		if other.ID == c.ID || strings.EqualFold(other.Host, c.Host) {
			panic(fmt.Sprintf("duotest: child %q at %q: there is %q at %q", c.ID, c.Host, other.ID, other.Host))
		}
	}
	if c.ID == "" || c.Host == "" {
		panic(fmt.Sprintf("duotest: child %q at %q: want an id and a host", c.ID, c.Host))
	}
	a := newAccount(s, c)
	if was := s.gone[c.ID]; was != nil {
		*a = *was
		a.Child = c
	}
	delete(s.gone, c.ID)
	s.children = append(s.children, a)
	s.certify(hostname(c.Host))
	return a
}

// RemoveChild takes a child away: the list shows it no more, and calls for it are answered 403. One that is not there stays so.
func (s *Server) RemoveChild(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.child(func(a *Account) bool { return a.ID == id }); a != nil {
		s.gone[id] = a
	}
	s.children = slices.DeleteFunc(s.children, func(a *Account) bool { return a.ID == id })
}

// Child returns the child of that id, or nil.
func (s *Server) Child(id string) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child(func(a *Account) bool { return a.ID == id })
}

// child returns the first child that fits, or nil.
func (s *Server) child(fits func(*Account) bool) *Account {
	if i := slices.IndexFunc(s.children, fits); i >= 0 {
		return s.children[i]
	}
	return nil
}

// route returns the account whose host that is, the parent's for one that is no child's, and the account that the call
// asks for by its account_id, nil for one that does not exist.
func (s *Server) route(host, id string) (at, wanted *Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at = s.child(func(a *Account) bool { return strings.EqualFold(a.Host, host) }); at == nil {
		at = s.Account
	}
	if id == "" {
		return at, s.Account
	}
	return at, s.child(func(a *Account) bool { return a.ID == id })
}

// listChildren answers the Accounts API's list.
func (s *Server) listChildren() *answer {
	children := list{}
	for _, c := range s.children {
		children = append(children, object{{"account_id", c.ID}, {"api_hostname", c.Host}, {"name", c.Name}})
	}
	return &answer{status: http.StatusOK, body: appendJSON(nil, object{{"response", children}, {"stat", "OK"}})}
}

// hostname returns a host without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}
