package duo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// accountList is the endpoint of the Accounts API that lists the children of
	// a service provider. It knows no paging.
	accountList = "/accounts/v1/account/list"
	// maxAccounts bounds the list; the largest service providers have thousands.
	maxAccounts = 10_000
	// listEvery is the pause between two lists.
	listEvery = 10 * time.Minute
)

// AccountID is the form of an account_id, which is a part of paths.
var AccountID = regexp.MustCompile(`^[0-9A-Za-z]{1,32}$`)

// Account is a child account of a service provider, as the list has it.
type Account struct {
	ID   string // "" if the entry has none that can be used
	Name string
	Host string // where it is called, api_hostname; a port may follow
	Odd  error  // why the account cannot be pulled; nil if it can
}

// Accounts asks for the child accounts of the account that the keys, those of an
// Accounts API application, belong to. Each id comes once. An odd entry is
// returned as such and costs the others nothing; the errors are Get's, and one
// for what is no list or has too many entries.
func (c *Client) Accounts(ctx context.Context) ([]Account, error) {
	a, err := c.call(ctx, http.MethodPost, accountList, url.Values{}, nil)
	if err != nil {
		return nil, err
	}
	return parseAccounts(a.Body, c.host)
}

// parseAccounts reads the answer of the parent's host.
func parseAccounts(body []byte, parent string) ([]Account, error) {
	var list struct {
		Response []json.RawMessage `json:"response"`
	}
	switch err := json.Unmarshal(body, &list); {
	case err != nil:
		return nil, fmt.Errorf("%w: %v", errNotList, err)
	case list.Response == nil:
		return nil, fmt.Errorf("%w: it has no response", errNotList)
	case len(list.Response) > maxAccounts:
		return nil, fmt.Errorf("%w: it has %d entries, more than the %d that are allowed for", errNotList, len(list.Response), maxAccounts)
	}
	var accounts []Account
	known := map[string]bool{}
	for i, entry := range list.Response {
		a := parseAccount(entry, parent)
		if a.ID == "" {
			a.Odd = fmt.Errorf("entry %d: %w", i+1, a.Odd)
		} else if known[a.ID] {
			continue
		}
		known[a.ID] = true
		accounts = append(accounts, a)
	}
	return accounts, nil
}

var errNotList = errors.New("the answer is not a list of accounts")

func parseAccount(entry json.RawMessage, parent string) Account {
	var a struct {
		ID   string `json:"account_id"`
		Name any    `json:"name"`
		Host string `json:"api_hostname"`
	}
	if json.Unmarshal(entry, &a) != nil {
		return Account{Odd: errors.New("it is not an object whose account_id and api_hostname are text")}
	}
	if !AccountID.MatchString(a.ID) {
		return Account{Odd: fmt.Errorf("account_id %.80q is not made of at most 32 letters and digits", a.ID)}
	}
	name, _ := a.Name.(string)
	host, err := ParseHost(a.Host)
	if err == nil && IsOwnHost(parent) && !IsOwnHost(host) {
		err = errors.New("this is not one of Duo's, as api_host is, and the signature does not go to others")
	}
	if err != nil {
		err = fmt.Errorf("account %s: api_hostname %.80q: %w", a.ID, a.Host, err)
	}
	return Account{ID: a.ID, Name: name, Host: host, Odd: err}
}

// Directory follows the list of a service provider's child accounts. Set the
// fields, then call Run.
type Directory struct {
	Client *Client // with the parent's host
	// Update takes each list that was got, the first at once and then one every
	// ten minutes. After a failure it is not called until there is a list again.
	Update func([]Account)
	// Logger gets a line when trouble begins and one when it ends.
	Logger *slog.Logger

	kind    string // of the trouble; empty: none
	since   time.Time
	calls   int // failed ones
	backoff *backoff.ExponentialBackOff
}

// Run asks until the context ends and returns its error.
func (d *Directory) Run(ctx context.Context) error {
	for {
		accounts, err := d.Client.Accounts(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := listEvery*9/10 + rand.N(listEvery/5)
		if err != nil {
			wait = d.failed(err)
		} else {
			d.recovered()
			d.Update(accounts)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// failed notes a failed call, says so if the trouble is new, and returns how
// long to wait.
func (d *Directory) failed(err error) time.Duration {
	t := diagnoseList(err)
	if d.kind != t.kind {
		d.Logger.Log(context.Background(), t.level, "list of child accounts: "+t.line()+"; the accounts that are known are pulled on")
	}
	if d.kind == "" {
		d.since, d.calls, d.backoff = time.Now(), 0, backoff.NewExponentialBackOff()
		d.backoff.InitialInterval, d.backoff.MaxInterval = time.Second, time.Minute
	}
	d.kind = t.kind
	d.calls++
	if t.wait > 0 {
		return t.wait + rand.N(t.wait/10)
	}
	return d.backoff.NextBackOff()
}

func (d *Directory) recovered() {
	if d.kind == "" {
		return
	}
	d.kind = ""
	d.Logger.Info("list of child accounts: Duo answers again", "after", time.Since(d.since).Round(time.Second), "failed_calls", d.calls)
}

// diagnoseList is diagnose for the list of accounts, where some causes have
// remedies of their own.
func diagnoseList(err error) trouble {
	var api *APIError
	t := diagnose(err, source{log: Log{Default: true}})
	switch {
	case errors.Is(err, errNotList), errors.Is(err, ErrTooLarge):
		t = trouble{kind: "list", level: slog.LevelWarn, text: "Duo's answer cannot be used: " + clip(err.Error()), next: retrying}
	case errors.As(err, &api) && (api.Status == http.StatusForbidden || api.Status == http.StatusNotFound):
		t.text = fmt.Sprintf("Duo denies access (%v): with the option accounts, integration_key and secret_key are those of the parent account's Accounts API application, and api_host is its host", api)
	}
	return t
}
