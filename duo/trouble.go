package duo

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// rateLimitWait is the least pause after a 429. Shorter ones were seen to
	// lead to more of them.
	rateLimitWait = 60 * time.Second
	// operatorWait is the pause where only the operator can help.
	operatorWait = 5 * time.Minute
	// skewNamed is the clock difference from which on a refused signature is
	// put down to the clock. Duo's own limit is not documented.
	skewNamed = time.Minute
)

// trouble is what a failed call means: one line for the operator and how long
// to wait. Two of the same kind are the same trouble and are said once.
type trouble struct {
	kind  string
	level slog.Level
	text  string        // cause and remedy
	next  string        // what the poller does meanwhile
	wait  time.Duration // 0: by back-off
}

// line is what the log says.
func (t trouble) line() string { return t.text + t.next }

const (
	retrying       = "; retrying"
	retryingRarely = "; trying again every 5 minutes"
)

// limitTrouble is the kind of a 429.
const limitTrouble = "429"

// pageTrouble is the kind of an answer that is no page, or none that leads on.
const pageTrouble = "page"

// refusedOffset is the trouble of a page that was refused and is asked for at
// once in another way. If that is refused too, it is another trouble.
func refusedOffset(err error) trouble {
	return trouble{kind: "offset", level: slog.LevelWarn, text: fmt.Sprintf("Duo refuses a next_offset (%v); going on at the time of the last record", err)}
}

// source is what is read: a log, and the child account that it is of, if any.
type source struct {
	log     Log
	account string
}

// diagnose names the cause of a failed call and its remedy.
func diagnose(err error, from source) trouble {
	var limit *RateLimitError
	var api *APIError
	switch {
	case errors.As(err, &limit):
		return trouble{
			kind: limitTrouble, level: slog.LevelWarn, wait: max(rateLimitWait, limit.RetryAfter),
			text: "Duo limits the calls (HTTP 429)", next: "; waiting at least a minute and going on slower",
		}
	case errors.As(err, &api):
		return diagnoseAPI(api, from)
	case errors.Is(err, ErrTooLarge):
		return trouble{kind: "large", level: slog.LevelWarn, text: clip(err.Error()), next: "; asking for fewer records per call, and if that is not enough, for their beginning"}
	case errors.Is(err, ErrPaging), errors.Is(err, ErrNotPage):
		return trouble{kind: pageTrouble, level: slog.LevelWarn, text: "Duo's answer cannot be used: " + clip(err.Error()), next: retrying}
	}
	kind, remedy := unreachable(err)
	return trouble{kind: kind, level: slog.LevelWarn, text: "Duo cannot be reached: " + clip(err.Error()) + remedy, next: retrying}
}

func diagnoseAPI(e *APIError, from source) trouble {
	t := trouble{kind: fmt.Sprint(e.Status, "/", e.Code), level: slog.LevelError, next: retryingRarely, wait: operatorWait}
	switch {
	case e.Status == http.StatusBadRequest:
		t.text = fmt.Sprintf("Duo refuses the request (%v): check this machine's clock; if that is right, please report this line", e)
		return t
	case e.Status == http.StatusUnauthorized:
		t.text = fmt.Sprintf("Duo refuses the keys (%v): %s", e, remedyKeys(e))
	case e.Status == http.StatusForbidden && from.account != "":
		t.text = fmt.Sprintf("Duo denies access (%v): the child account is gone, or it is of another deployment of Duo's than its parent, and so beyond the Accounts API; if it stays so, name the other accounts in the option accounts", e)
	case e.Status == http.StatusForbidden:
		t.text = fmt.Sprintf("Duo denies access (%v): give the Admin API application the permission \"Grant read log\", and allow this machine's network if the application restricts networks", e)
	case e.Status == http.StatusNotFound || e.Status == http.StatusGone:
		t.text = fmt.Sprintf("Duo does not have this log (%v): its edition does not include it or it was retired; take it out of the option logs", e)
	case e.Location != "":
		t.text = fmt.Sprintf("the answer is a redirect to %s (HTTP %d), which is not followed: check api_host and proxy", host(e.Location), e.Status)
	default:
		t.level, t.next, t.wait = slog.LevelWarn, retrying, 0
		t.text = fmt.Sprintf("Duo answers with an error (%v)", e)
		return t
	}
	if e.Status != http.StatusUnauthorized && !from.log.Default {
		t.level = slog.LevelWarn // many accounts do not have such a log, or no more
	}
	if e.Status != http.StatusUnauthorized && from.log.Successor != "" {
		t.text += fmt.Sprintf("; Duo retires it, its events are in %s too", from.log.Successor)
	}
	return t
}

// remedyKeys tells the three causes of a 401 apart.
func remedyKeys(e *APIError) string {
	skew := e.Sent.Sub(e.Date).Round(time.Second)
	switch {
	case e.Code == 40101 || e.Code == 40102:
		return "check integration_key, and that api_host is the one shown beside it in Duo's Admin Panel"
	case !e.Date.IsZero() && skew >= skewNamed:
		return fmt.Sprintf("this machine's clock is %s (%.0f s) ahead of Duo's; set it right, for instance with NTP", skew, skew.Seconds())
	case !e.Date.IsZero() && skew <= -skewNamed:
		return fmt.Sprintf("this machine's clock is %s (%.0f s) behind Duo's; set it right, for instance with NTP", -skew, -skew.Seconds())
	}
	return "check secret_key, and that it, integration_key and api_host belong to the same application in Duo's Admin Panel"
}

// unreachable tells the causes of an unreachable Duo apart that need different
// remedies, so that a new one is said; the others come and go in one outage.
func unreachable(err error) (kind, remedy string) {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var weak weakKey
	var refused proxyRefusal
	var dns *net.DNSError
	switch {
	case strings.Contains(err.Error(), "insecure algorithm"), errors.As(err, &weak):
		return "certificate", " (whoever runs the server or the proxy that inspects TLS must have it issued anew, with a key of at least 2048 bits and a signature other than SHA-1)"
	case errors.As(err, &unknown):
		return "certificate", issuer(unknown.Cert) + " (if a proxy inspects TLS here, name its root certificate in ca_file; if this is a bare container, install ca-certificates)"
	case errors.As(err, &name), errors.As(err, &invalid):
		return "certificate", " (check api_host, this machine's clock, and whether a proxy stands in between)"
	case errors.As(err, &refused) && refused == http.StatusProxyAuthRequired:
		return "proxy", " (give user and password in the option proxy)"
	case errors.As(err, &refused), strings.Contains(err.Error(), "proxyconnect"):
		return "proxy", " (check the proxy, and that it lets this machine through to api_host)"
	case errors.Is(err, errNoAnswer):
		return "network", " (the option timeout allows for more; a firewall that drops packets and a proxy that hangs look the same)"
	case errors.As(err, &dns):
		return "name", " (check api_host and the machine's name resolution)"
	case strings.Contains(err.Error(), "tls: "), strings.Contains(err.Error(), "HTTP response to HTTPS"):
		return "tls", " (it must speak TLS 1.2 or newer: check api_host, and whether a proxy stands in between)"
	}
	return "network", ""
}

// issuer names who issued a certificate, by its own account.
func issuer(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf(", issued by %.100q", c.Issuer.String())
}

// host is the part of a redirect's target that is safe and useful to print.
func host(location string) string {
	if _, rest, ok := strings.Cut(location, "://"); ok {
		location = rest
	}
	location, _, _ = strings.Cut(location, "/")
	location, _, _ = strings.Cut(location, "?")
	location = location[strings.LastIndex(location, "@")+1:]
	if location == "" {
		return "another path"
	}
	return clip(location)
}
