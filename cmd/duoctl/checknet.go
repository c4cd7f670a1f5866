package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"duo_in/duo"
	"duo_in/plugin/option"
)

const (
	// skewWarned and skewFailed are by how much a clock may be off. How much Duo
	// allows for is not documented; a signature is good for some minutes.
	skewWarned = 10 * time.Second
	skewFailed = time.Minute
	// maxProbed is how many child accounts are tried: each log of each is a call.
	maxProbed = 5
	// agent is what Duo sees.
	agent = "duo_in-check"
)

// outcome is what became of a call for a log.
type outcome struct {
	log     duo.Log
	account string
	err     error
}

// network calls Duo as the plugin does, and says how far that came.
func (in *checked) network(ctx context.Context, v option.Values, ok bool) {
	way := []string{stepName, stepConnection, stepCertificate, stepClock, stepKeys}
	if !ok {
		for _, check := range append(way, stepLog) {
			in.skip(check, "because the configuration is wrong")
		}
		return
	}
	transport, err := duo.NewTransport(v.Transport)
	if err != nil {
		in.fail(stepConfiguration, "%v", err)
		return
	}
	defer transport.CloseIdleConnections()
	c := caller{ctx: ctx, values: v, witness: &witness{base: transport}}
	var first error // of the first call
	var children []duo.Account
	if v.Accounts.Any() {
		children, first = c.client(v.Credentials).Accounts(ctx)
		c.note(first)
		if first == nil {
			c.probeChildren(v.Accounts, children)
		}
	} else {
		c.probe(v.Credentials)
		first = c.outcomes[0].err
	}
	connected := in.way(c.witness, first, c.explain(first), v)
	in.clock(c.skew, c.timed, answered(first))
	in.keys(c.answers, answered(first))
	if v.Accounts.Any() {
		in.children(v.Accounts, children, first, connected)
	}
	in.logs(c.outcomes, connected)
}

// caller makes the calls of one input.
type caller struct {
	ctx      context.Context
	values   option.Values
	witness  *witness
	answers  []error // of all calls that were made
	outcomes []outcome
	skew     time.Duration
	timed    bool // skew is known
}

func (c *caller) client(keys duo.Credentials) *duo.Client {
	return duo.NewClient(keys, c.witness, c.values.Timeout, agent)
}

// Why something was not checked.
const (
	becauseSilent      = "because there was no answer"
	becauseAbove       = "because of what FAILed above"
	becauseInterrupted = "because the check was interrupted"
)

var errNotTried = errors.New("not tried")

// probe asks for each log with these keys. After a call that did not reach Duo, or a refusal of the keys, the others are
// not made.
func (c *caller) probe(keys duo.Credentials) {
	client := c.client(keys)
	for _, l := range c.values.Logs {
		err := c.ctx.Err()
		switch {
		case err != nil:
		case slices.ContainsFunc(c.answers, final):
			err = errNotTried
		default:
			err = client.Probe(c.ctx, l, c.values.Window)
			c.note(err)
		}
		c.outcomes = append(c.outcomes, outcome{log: l, account: keys.Account, err: err})
	}
}

// probeChildren asks for the logs of the first accounts that are pulled.
func (c *caller) probeChildren(wanted option.Accounts, list []duo.Account) {
	n := 0
	for _, a := range list {
		if a.Odd == nil && (wanted.All || slices.Contains(wanted.IDs, a.ID)) && n < maxProbed {
			keys := c.values.Credentials
			keys.Host, keys.Account = a.Host, a.ID
			c.probe(keys)
			n++
		}
	}
}

// note keeps what a call told about keys and clock.
func (c *caller) note(err error) {
	c.answers = append(c.answers, err)
	if skew, ok := c.witness.skew(); ok && !c.timed {
		c.skew, c.timed = skew, true
	}
}

// explain says what the first call's failure means.
func (c *caller) explain(err error) string {
	switch {
	case err == nil:
		return ""
	case c.values.Accounts.Any():
		return duo.ExplainAccounts(err)
	}
	return duo.Explain(err, c.values.Logs[0], "")
}

// advise adds what to do about a failure that the plugin's log leaves to time, since it may pass.
func advise(why string, status int) string {
	switch {
	case status >= http.StatusInternalServerError:
		why += "; the trouble is Duo's, or a gateway's in between: see status.duo.com and the proxy, and check again later"
	case strings.HasPrefix(why, "Duo cannot be reached") && !strings.HasSuffix(why, ")"):
		why += "; check api_host, and whether a firewall lets this machine through to it"
	}
	return why
}

// final reports whether a failure is one of all calls.
func final(err error) bool {
	status, _ := statusOf(err)
	return err != nil && (status == http.StatusUnauthorized || !answered(err))
}

// answered reports whether an answer came, be it a refusal.
func answered(err error) bool {
	return err == nil || errors.As(err, new(*duo.APIError)) || errors.As(err, new(*duo.RateLimitError)) ||
		errors.Is(err, duo.ErrTooLarge) || errors.Is(err, duo.ErrNotPage)
}

// statusOf returns the HTTP status and Duo's code of a failed call, as far as it had any.
func statusOf(err error) (status, code int) {
	var api *duo.APIError
	switch {
	case errors.As(err, &api):
		return api.Status, api.Code
	case errors.As(err, new(*duo.RateLimitError)):
		return http.StatusTooManyRequests, 0
	}
	return 0, 0
}

// way says how far the first call came, and returns whether that was to Duo, or to what answers in its place.
func (in *checked) way(w *witness, err error, why string, v option.Values) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.proxy != nil { // of the environment too
		password, _ := w.proxy.User.Password()
		in.hide(password)
	}
	checks := []struct {
		check string
		done  bool
		text  func() string
	}{
		{stepName, w.resolved(), w.nameText},
		{stepConnection, w.connected(), func() string { return w.connectionText(v.Transport.Proxy != nil) }},
		{stepCertificate, w.state != nil, func() string { return certificateText(w.state, v.Transport.CAFile) }},
	}
	for i, c := range checks {
		if c.done {
			f := finding{Check: c.check, Result: resultOK, Text: c.text()}
			if c.check == stepCertificate {
				f.Issuer = w.state.PeerCertificates[0].Issuer.String()
			}
			in.add(f)
			continue
		}
		if errors.Is(err, context.Canceled) {
			in.skip(c.check, becauseInterrupted)
		} else {
			in.fail(c.check, "%s", advise(why, 0))
		}
		for _, rest := range checks[i+1:] {
			in.skip(rest.check, becauseAbove)
		}
		return false
	}
	return true
}

// clock compares this machine's with Duo's.
func (in *checked) clock(skew time.Duration, known, answered bool) {
	f := finding{Check: stepClock, Result: resultOK}
	seconds := skew.Seconds()
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	switch {
	case !known && answered:
		in.skip(stepClock, "because the answer bears no time")
		return
	case !known:
		in.skip(stepClock, becauseSilent)
		return
	case skew.Abs() < time.Second:
		f.Text = "as Duo's"
	default:
		f.Text = fmt.Sprintf("%.0f s %s Duo's", skew.Abs().Seconds(), direction)
	}
	if skew.Abs() >= skewWarned {
		f.Result = resultWarn
		f.Text = "this machine's clock is " + f.Text + "; set it right, for instance with NTP"
	}
	if skew.Abs() >= skewFailed {
		f.Result = resultFail
	}
	f.Skew = &seconds
	in.add(f)
}

// keys says whether a signature was accepted.
func (in *checked) keys(answers []error, answered bool) {
	accepted := false
	for _, err := range answers {
		status, code := statusOf(err)
		switch {
		case status == http.StatusUnauthorized:
			in.add(finding{Check: stepKeys, Result: resultFail, Status: status, Code: code, Text: duo.Explain(err, duo.Log{Default: true}, "")})
			return
		case err == nil, status == http.StatusTooManyRequests, code >= 40000 && code < 50000:
			accepted = true // Duo looks at the signature before all else
		}
	}
	switch {
	case accepted:
		in.pass(stepKeys, "Duo accepts the signature")
	case answered:
		in.skip(stepKeys, "because the answer does not tell: see below")
	default:
		in.skip(stepKeys, becauseSilent)
	}
}

// children compares the accounts that are to be pulled with those that there are.
func (in *checked) children(wanted option.Accounts, list []duo.Account, err error, connected bool) {
	switch {
	case errors.Is(err, context.Canceled):
		in.skip(stepAccounts, becauseInterrupted)
		in.skip(stepLog, becauseInterrupted)
		return
	case err != nil && !connected:
		in.skip(stepAccounts, becauseSilent)
		in.skip(stepLog, becauseSilent)
		return
	case err != nil:
		status, code := statusOf(err)
		in.add(finding{Check: stepAccounts, Result: resultFail, Status: status, Code: code, Text: advise(duo.ExplainAccounts(err), status)})
		in.skip(stepLog, "because there is no list of accounts")
		return
	case len(list) == 0:
		in.fail(stepAccounts, "the list is empty: the parent account has no child account")
		return
	}
	for _, a := range list {
		if a.Odd != nil && (wanted.All || slices.Contains(wanted.IDs, a.ID)) {
			in.warn(stepAccounts, "%v; it is not pulled", a.Odd)
		}
	}
	pulled := len(list)
	if !wanted.All {
		pulled = 0
		for _, id := range wanted.IDs {
			if slices.ContainsFunc(list, func(a duo.Account) bool { return a.ID == id }) {
				pulled++
				continue
			}
			in.add(finding{Check: stepAccounts, Account: id, Result: resultFail, Text: "account " + id + " is not in the list; is the id right, capital letters too?"})
		}
	}
	text := fmt.Sprintf("%d of %d child accounts are pulled", pulled, len(list))
	if pulled > maxProbed {
		text += fmt.Sprintf("; %d of them were tried", maxProbed)
	}
	in.pass(stepAccounts, "%s", text)
}

// logs says what each log's call brought.
func (in *checked) logs(outcomes []outcome, connected bool) {
	for _, o := range outcomes {
		f := finding{Check: stepLog, Log: o.log.Name, Account: o.account, Result: resultFail}
		f.Status, f.Code = statusOf(o.err)
		switch optional := !o.log.Default; {
		case o.err == nil:
			f.Result, f.Status, f.Text = resultOK, http.StatusOK, "it can be read"
		case errors.Is(o.err, context.Canceled):
			f.Result, f.Text = resultSkipped, becauseInterrupted
		case !connected:
			f.Result, f.Text = resultSkipped, becauseSilent
		case errors.Is(o.err, errNotTried):
			f.Result, f.Text = resultSkipped, becauseAbove
		case f.Status == http.StatusTooManyRequests:
			f.Result, f.Text = resultWarn, duo.Explain(o.err, o.log, o.account)+": somebody else reads this log, or this check did, less than a minute ago; whether it may be read is known in a minute"
		case f.Status == http.StatusUnauthorized:
			f.Result, f.Text = resultSkipped, "because Duo refuses the keys"
		default:
			f.Text = advise(duo.Explain(o.err, o.log, o.account), f.Status)
			if optional && (f.Status == http.StatusForbidden || f.Status == http.StatusNotFound || f.Status == http.StatusGone) {
				f.Result = resultWarn // as in the plugin's log: many accounts do not have it, or no more
			}
		}
		in.add(f)
	}
}

// witness is a transport that notes how far calls come: of the first the way, of each the time of its answer.
type witness struct {
	base *http.Transport

	mu       sync.Mutex // guards what follows; the hooks run beside the call
	seen     bool       // the first call is over
	host     string     // with port
	proxy    *url.URL
	names    []string // that the name resolved to
	numeric  bool     // the name is an address
	address  string   // of the connection
	took     time.Duration
	began    time.Time
	state    *tls.ConnectionState // with Duo
	shaking  int                  // handshakes that began
	shaken   int                  // those of them that succeeded
	sent     time.Time
	answered time.Time
	date     time.Time // of the answer, by its sender
}

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	first := !w.seen
	w.seen = true
	w.sent, w.answered, w.date = time.Now(), time.Time{}, time.Time{}
	if first {
		w.proxy, _ = w.base.Proxy(req)
		w.host = req.URL.Host
		w.numeric = net.ParseIP(w.dialed().Hostname()) != nil
	}
	w.mu.Unlock()
	if first {
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), w.trace()))
	}
	resp, err := w.base.RoundTrip(req)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.answered = time.Now()
		w.date, _ = http.ParseTime(resp.Header.Get("Date"))
	}
	return resp, err
}

// dialed is whom the connection goes to.
func (w *witness) dialed() *url.URL {
	if w.proxy != nil {
		return w.proxy
	}
	return &url.URL{Host: w.host}
}

func (w *witness) trace() *httptrace.ClientTrace {
	locked := func(do func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		do()
	}
	return &httptrace.ClientTrace{
		DNSDone: func(i httptrace.DNSDoneInfo) {
			locked(func() {
				for _, a := range i.Addrs {
					w.names = append(w.names, a.String())
				}
			})
		},
		ConnectStart: func(string, string) {
			locked(func() {
				if w.began.IsZero() {
					w.began = time.Now()
				}
			})
		},
		ConnectDone: func(_, address string, err error) {
			locked(func() {
				if err == nil {
					w.address, w.took = address, time.Since(w.began)
				}
			})
		},
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			locked(func() {
				if err != nil {
					return
				}
				if w.shaken++; w.shaken == w.handshakes() {
					w.state = &s
				}
			})
		},
		TLSHandshakeStart: func() { locked(func() { w.shaking++ }) },
		WroteRequest:      func(httptrace.WroteRequestInfo) { locked(func() { w.sent = time.Now() }) },
	}
}

// handshakes is how many the way to Duo takes: an https proxy has its own.
func (w *witness) handshakes() int {
	if w.proxy != nil && w.proxy.Scheme == "https" {
		return 2
	}
	return 1
}

func (w *witness) resolved() bool { return w.numeric || len(w.names) > 0 || !w.began.IsZero() }

// connected reports whether the connection stands, through the proxy too: then the handshake with Duo has begun.
func (w *witness) connected() bool { return w.address != "" && w.shaking >= w.handshakes() }

func (w *witness) nameText() string {
	name := w.dialed().Hostname()
	text := name + " is an address"
	if !w.numeric {
		text = name + " is " + cmp.Or(strings.Join(w.names, ", "), w.address)
	}
	if w.proxy != nil {
		text += fmt.Sprintf("; the proxy resolves %s", w.host)
	}
	return text
}

func (w *witness) connectionText(byOption bool) string {
	if w.proxy == nil {
		return fmt.Sprintf("to %s in %d ms", w.address, w.took.Milliseconds())
	}
	source := "of the environment"
	if byOption {
		source = "of the option proxy"
	}
	return fmt.Sprintf("to the proxy %s, %s, in %d ms, and through it to %s", w.address, source, w.took.Milliseconds(), w.host)
}

// skew is by how much the local clock is ahead of the last answer's; false if it bore no time. A Date is in whole seconds,
// and a call takes its time: within that the clocks agree.
func (w *witness) skew() (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch latest := w.date.Add(time.Second); {
	case w.date.IsZero():
		return 0, false
	case w.sent.After(latest):
		return w.sent.Sub(latest), true
	case w.answered.Before(w.date):
		return w.answered.Sub(w.date), true
	}
	return 0, true
}

// certificateText names who vouches for the server.
func certificateText(s *tls.ConnectionState, caFile string) string {
	leaf := s.PeerCertificates[0]
	text := fmt.Sprintf("%s, issued by %.100q, valid until %s", tls.VersionName(s.Version), leaf.Issuer, leaf.NotAfter.UTC().Format(time.DateOnly))
	if len(s.VerifiedChains) > 0 {
		chain := s.VerifiedChains[0]
		root := chain[len(chain)-1]
		text += fmt.Sprintf("; the root is %.100q", root.Subject)
		if holds(caFile, root) {
			text += ", of ca_file: a proxy that inspects TLS, or a test server"
		}
	}
	return text
}

// holds reports whether a certificate is in a PEM file.
func holds(path string, c *x509.Certificate) bool {
	text, err := os.ReadFile(path) // the transport has read it, so that its size is bounded
	if err != nil {
		return false
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if bytes.Equal(block.Bytes, c.Raw) {
			return true
		}
	}
	return false
}
