package duotest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind string

// Faults that take the place of Duo's answer, as a gateway in front of it would give them: signature, permission and
// budget play no part. Status, Body and Header change what they answer.
const (
	FaultStatus    FaultKind = "status"     // 500 with Duo's body for that status
	FaultFail      FaultKind = "fail"       // stat FAIL with status 200
	FaultHTML      FaultKind = "html"       // 502 with a page for people
	FaultRedirect  FaultKind = "redirect"   // 302 to a login page
	FaultRateLimit FaultKind = "rate limit" // 429 42901 with Retry-After: 120
	FaultHang      FaultKind = "hang"       // no answer, until the client leaves or the listener is closed
	FaultReset     FaultKind = "reset"      // the connection is reset; in memory, it ends
	FaultHints     FaultKind = "hints"      // 103 Early Hints with a header, again and again, until the client leaves
	FaultHuge      FaultKind = "huge"       // 200 and Size bytes of a page with one enormous record
)

// Faults that spoil Duo's answer, whatever it is.
const (
	FaultTruncate   FaultKind = "truncate"    // the connection ends after half of the announced body
	FaultBroken     FaultKind = "broken"      // half of the body, announced as such
	FaultSlow       FaultKind = "slow"        // the body comes in ten parts, Delay between them
	FaultGzip       FaultKind = "gzip"        // the body is compressed, whether or not the client asked for it
	FaultRewrite    FaultKind = "rewrite"     // the body goes through Rewrite
	FaultSameOffset FaultKind = "same offset" // next_offset is the one that the client sent; waits for a call with one
	FaultRewind     FaultKind = "rewind"      // next_offset is not looked at; waits for a call with one
)

// Fault is something that goes wrong with some calls. The zero values of the fields mean: the next call of any log.
type Fault struct {
	Kind  FaultKind
	Log   string          // only calls of this log
	Match func(Call) bool // only calls for which this is true; At to Signature are set. It must not use the server
	Skip  int             // so many of these calls pass unharmed first
	N     int             // then so many fail; 0 is 1, negative: all of them, until ClearFaults

	Status  int
	Body    string
	Header  http.Header
	Delay   time.Duration       // of FaultSlow
	Size    int64               // of FaultHuge; default 64 MiB
	Rewrite func([]byte) []byte // of FaultRewrite
}

// Fault plans a fault. A call meets at most one: of those that fit it, the first that was planned and is not used up.
func (s *Server) Fault(f Fault) {
	if f.Log != "" {
		s.journal(f.Log)
	}
	f.N = cmp.Or(f.N, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults calls off all faults that are still planned. A call that hangs already goes on hanging.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Faults returns how many planned faults are not used up.
func (s *Server) Faults() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

// nextFault returns the fault that a call meets, or one of no kind.
func (s *Server) nextFault(c Call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if !f.fits(c) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			return Fault{}
		}
		if f.N--; f.N == 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		return *f
	}
	return Fault{}
}

func (f *Fault) fits(c Call) bool {
	paged := f.Kind == FaultSameOffset || f.Kind == FaultRewind
	return (f.Log == "" || f.Log == c.Log) &&
		(f.Match == nil || f.Match(c)) &&
		(!paged || c.Param(kindOf(c.Path).offset) != "")
}

// fixed says whether the fault takes the place of an answer.
func (f Fault) fixed() bool {
	_, ok := fixedAnswers[f.Kind]
	return ok
}

// fixedAnswer is what a fault answers unless it says otherwise; without a status it is nothing that ends.
type fixedAnswer struct {
	status      int
	contentType string
	body        func(status int) string
	header      map[string]string
}

var fixedAnswers = map[FaultKind]fixedAnswer{
	FaultStatus:    {http.StatusInternalServerError, "application/json", failBody, nil},
	FaultFail:      {http.StatusOK, "application/json", failBody, nil},
	FaultRateLimit: {http.StatusTooManyRequests, "application/json", failBody, map[string]string{"Retry-After": "120"}},
	FaultHTML:      {http.StatusBadGateway, "text/html; charset=utf-8", htmlBody, nil},
	FaultRedirect:  {http.StatusFound, "text/html; charset=utf-8", htmlBody, map[string]string{"Location": "https://login.example.com/"}},
	FaultHuge:      {http.StatusOK, "application/json", nil, nil},
	FaultHang:      {},
	FaultHints:     {},
	FaultReset:     {},
}

// failCodes are Duo's code and words for a status.
var failCodes = map[int]struct {
	code    int
	message string
}{
	400: {40002, "Invalid request parameters"},
	401: {40103, "Invalid signature in request credentials"},
	403: {40301, "Access forbidden"},
	404: {40401, "Resource not found"},
	410: {41001, "Resource gone"}, // the code is a guess after the others: nobody has published such an answer
	429: {42901, "Too Many Requests"},
}

func failBody(status int) string {
	words, ok := failCodes[status]
	if !ok {
		words.code, words.message = max(status, 500)*100+1, "Internal server error"
	}
	return string(failure(status, words.code, words.message, "").body)
}

func htmlBody(status int) string {
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	return "<html>\r\n<head><title>" + text + "</title></head>\r\n<body><h1>" + text + "</h1></body>\r\n</html>\r\n"
}

func (f Fault) statusCode() int { return cmp.Or(f.Status, fixedAnswers[f.Kind].status) }

// sendFixed gives the answer of a fault that takes the place of Duo's.
func sendFixed(w http.ResponseWriter, r *http.Request, f Fault) {
	fixed, status := fixedAnswers[f.Kind], f.statusCode()
	switch f.Kind {
	case FaultHang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case FaultReset:
		reset(r)
	case FaultHints:
		w.Header().Set("Link", strings.Repeat("x", 1000))
		for r.Context().Err() == nil {
			w.WriteHeader(http.StatusEarlyHints)
		}
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", fixed.contentType)
	for name, value := range fixed.header {
		w.Header().Set(name, value)
	}
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(status)
	if f.Kind == FaultHuge {
		sendHuge(w, cmp.Or(f.Size, 64<<20))
		return
	}
	body := f.Body
	if body == "" {
		body = fixed.body(status)
	}
	w.Write([]byte(body)) // an error means that the client has gone, as in all that is written here
}

type connKey struct{}

// reset closes the connection without a word of TLS, over TCP with RST.
func reset(r *http.Request) {
	if secure, ok := r.Context().Value(connKey{}).(*tls.Conn); ok {
		raw := secure.NetConn()
		if tcp, ok := raw.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		raw.Close()
	}
	panic(http.ErrAbortHandler)
}

func sendHuge(w http.ResponseWriter, size int64) {
	const head, tail = `{"response": {"authlogs": [{"padding": "`, `"}], "metadata": {"next_offset": null}}, "stat": "OK"}`
	part := bytes.Repeat([]byte("x"), 64<<10)
	if _, err := w.Write([]byte(head)); err != nil {
		return
	}
	for left := size - int64(len(head)+len(tail)); left > 0; left -= int64(len(part)) {
		if _, err := w.Write(part[:min(left, int64(len(part)))]); err != nil {
			return
		}
	}
	w.Write([]byte(tail))
}

// send gives Duo's answer, spoilt by the fault if there is one.
func send(w http.ResponseWriter, r *http.Request, a *answer, f Fault) {
	body := a.body
	switch f.Kind {
	case FaultBroken:
		body = body[:len(body)/2]
	case FaultGzip:
		body = compressed(body)
		w.Header().Set("Content-Encoding", "gzip")
	case FaultRewrite:
		body = f.Rewrite(body)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	switch f.Kind {
	case FaultTruncate:
		w.Write(body[:len(body)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case FaultSlow:
		for i := range 10 {
			w.Write(body[len(body)*i/10 : len(body)*(i+1)/10])
			http.NewResponseController(w).Flush()
			if i < 9 && !pause(r.Context(), f.Delay) {
				panic(http.ErrAbortHandler)
			}
		}
	default:
		w.Write(body)
	}
}

func compressed(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(body) // a Buffer never fails
	z.Close()
	return b.Bytes()
}
