package duo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	duoapi "github.com/duosecurity/duo_api_golang"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Credentials are the keys of an Admin API application and the host they
// belong to; or those of a service provider's Accounts API application, with its
// own host, or with a child account and that one's.
type Credentials struct {
	Host           string // api-XXXXXXXX.duosecurity.com, a port may follow
	IntegrationKey string
	SecretKey      Secret
	Account        string // the child's account_id, sent with every call; "" for none
}

// Client makes signed calls to one host, one at a time.
type Client struct {
	// Now is the local clock, as far as it is compared with Duo's; time.Now
	// unless a test sets it before the first call.
	Now func() time.Time

	timeout time.Duration
	host    string
	account string

	mu   sync.Mutex // held during a call: api's transport is bound to one context
	api  *duoapi.DuoApi
	bind *binder
}

var errNoAnswer = errors.New("no answer")

// NewClient returns a client that signs with c and sends through base, see
// [NewTransport]. A call takes at most timeout, its body included.
func NewClient(c Credentials, base http.RoundTripper, timeout time.Duration, userAgent string) *Client {
	bind := &binder{base: base, userAgent: userAgent}
	api := duoapi.NewDuoApi(c.IntegrationKey, c.SecretKey.Reveal(), c.Host, userAgent)
	api.SetCustomHTTPClient(&http.Client{
		Transport: bind,
		// A redirect is never followed: the signature must not leave the host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	return &Client{Now: time.Now, timeout: timeout, host: c.Host, account: c.Account, api: api, bind: bind}
}

// Answer is a call's outcome.
type Answer struct {
	Body []byte
	Date time.Time // of the answer, by Duo's clock; zero if there was none
	Sent time.Time // when the call was made, by the local clock
	left int       // bytes that were left out of records, of an answer that was cut
	cut  bool      // records were left out at its end
}

// Get makes one call, signed anew. Errors are an [*APIError], a
// [*RateLimitError], [ErrTooLarge], or say why no answer came; the Answer's
// times are set in each case where they are known.
func (c *Client) Get(ctx context.Context, path string, params url.Values) (Answer, error) {
	return c.call(ctx, http.MethodGet, path, params, nil)
}

// call makes a call whose answer goes through cut, if that is not nil.
func (c *Client) call(ctx context.Context, method, path string, params url.Values, cut *cutter) (Answer, error) {
	if c.account != "" {
		params = maps.Clone(params)
		params.Set("account_id", c.account)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("%w within %s", errNoAnswer, c.timeout))
	defer cancel()
	c.bind.ctx, c.bind.cut, c.bind.body = ctx, cut, nil

	a := Answer{Sent: c.Now()}
	resp, _, err := c.api.SignedCall(method, path, params, duoapi.UseTimeout)
	if resp != nil {
		a.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	}
	if err != nil {
		return a, callError(ctx, err)
	}
	a.Body, c.bind.body = c.bind.body, nil
	if cut != nil {
		a.left, a.cut = cut.left, cut.ended
	}
	return a, refusal(resp, a)
}

// callError strips what net/http wraps around the cause: the URL with all its
// parameters says nothing that the log line does not say better.
func callError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// refusal returns the error that an answer stands for, or nil for a page.
func refusal(resp *http.Response, a Answer) error {
	e := &APIError{Status: resp.StatusCode, Date: a.Date, Sent: a.Sent, Location: resp.Header.Get("Location")}
	if e.Status == http.StatusOK && looksLikePage(a.Body) {
		return nil
	}
	f, err := readFailure(a.Body)
	switch {
	case e.Status == http.StatusOK && looksLikeObject(a.Body) && (err != nil || text(f.Stat) != "FAIL"):
		return nil // what is not right about it the parser says, or mends
	case err != nil:
		e.Message = "not JSON but " + describe(resp, a.Body)
		if e.Status == http.StatusOK {
			e.Status = http.StatusBadGateway
		}
		return e
	}
	e.Code, e.Message, e.Detail = f.code(), text(f.Message), text(f.Detail)
	if e.Status == http.StatusOK {
		e.Status = http.StatusBadGateway
		if e.Code >= 40000 && e.Code < 60000 {
			e.Status = e.Code / 100
		}
	}
	if e.Status == http.StatusTooManyRequests {
		return &RateLimitError{}
	}
	return e
}

// looksLikePage spares a page the second reading that finding stat FAIL takes.
// A page that happens to hold the word is read twice, and is still a page.
func looksLikePage(body []byte) bool {
	return looksLikeObject(body) && !bytes.Contains(body, []byte(`"FAIL"`))
}

func looksLikeObject(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) }

// failure is the body of a refusal. Each field can be of any type: code can be a
// number, a string or empty.
type failure struct {
	Stat    jsontext.Value `json:"stat"`
	Code    jsontext.Value `json:"code"`
	Message jsontext.Value `json:"message"`
	Detail  jsontext.Value `json:"message_detail"`
}

// readFailure reads a body without holding more of it than those four.
func readFailure(body []byte) (f failure, err error) {
	return f, json.Unmarshal(body, &f, lenient)
}

func (f failure) code() int {
	n, _ := strconv.Atoi(strings.Trim(string(f.Code), `"`))
	return n
}

// maxText bounds, in bytes, what is shown of one text that a server sent.
const maxText = 500

// text is what a value says: a string's own text, of others their JSON; of null
// nothing.
func text(v jsontext.Value) string {
	s := scalar(v)
	if k := v.Kind(); k != '"' && k != 'n' && k != 'N' {
		s = string(v)
	}
	return clip(s)
}

// clip is a text of a server's, or one that can hold such, within maxText.
func clip(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + " ..."
	}
	return s
}

// describe says in a few words what an answer that is not JSON looks like.
func describe(resp *http.Response, body []byte) string {
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if kind == "" {
		kind = "untyped"
	}
	return fmt.Sprintf("%s of %d bytes", clip(kind), len(body))
}
