package duotest

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// signatures are the digests that Duo accepts for its log endpoints (signature version 2), by the name that Call carries.
var signatures = map[string]func() hash.Hash{"sha1": sha1.New, "sha512": sha512.New}

// dateLayouts are the forms of a Date header: RFC 1123 with "-0000" or "+0000", as Duo's clients write it, and with "GMT".
var dateLayouts = []string{time.RFC1123Z, time.RFC1123}

// maxForm bounds the body of a POST.
const maxForm = 64 << 10

// parameters returns the parameters of a call as they were sent: its query, of a POST its form, in which a space, a plus
// there, is %20.
func parameters(w http.ResponseWriter, r *http.Request) string {
	if r.Method != http.MethodPost {
		return r.URL.RawQuery
	}
	form, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm)) // a part of it does not equal what was signed
	return strings.ReplaceAll(string(form), "+", "%20")
}

// verify returns the name of the digest that a request is signed with, and the refusal if it is not signed as it should be.
// Host is what the client had to sign, sent the parameters.
func (s *Server) verify(r *http.Request, host, sent string, now time.Time) (string, *answer) {
	s.mu.Lock()
	wantKey, secret := s.ikey, s.skey
	s.mu.Unlock()

	ikey, signature, ok := credentials(r.Header.Get("Authorization"))
	if !ok {
		return "", failure(http.StatusUnauthorized, 40101, "Missing request credentials", "")
	}
	if ikey != wantKey {
		return "", failure(http.StatusUnauthorized, 40102, "Invalid integration key in request credentials", "")
	}
	params, _ := url.ParseQuery(sent)
	query := canonicalQuery(params)
	kind := matching(signature, secret, canonical(r.Header.Get("Date"), r.Method, host, r.URL.EscapedPath(), query))
	if kind == "" {
		return "", badSignature("The signature does not fit date, method, host, path and parameters")
	}
	if query != sent {
		return kind, badSignature(fmt.Sprintf("The query sent is %q, the one signed is %q", sent, query))
	}
	if r.Method == http.MethodPost && r.URL.RawQuery != "" {
		return kind, badSignature("A POST has its parameters in its body, where they are signed")
	}
	if s.config.MaxSkew < 0 {
		return kind, nil
	}
	date, err := parseDate(r.Header.Get("Date"))
	if err != nil {
		return kind, badSignature("The Date header is not in the form of RFC 1123")
	}
	if skew := date.Sub(now); skew.Abs() > s.config.MaxSkew {
		return kind, badSignature(fmt.Sprintf("The Date header is off by %v", skew.Round(time.Second)))
	}
	return kind, nil
}

func badSignature(detail string) *answer {
	return failure(http.StatusUnauthorized, 40103, "Invalid signature in request credentials", detail)
}

// credentials takes "Basic base64(ikey:signature)" apart.
func credentials(header string) (ikey, signature string, ok bool) {
	encoded, ok := strings.CutPrefix(header, "Basic ")
	if !ok {
		return "", "", false
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(decoded), ":")
}

// canonical is the text that a client signs (duo-api, "Signing").
func canonical(date, method, host, path, query string) string {
	return strings.Join([]string{date, strings.ToUpper(method), strings.ToLower(host), path, query}, "\n")
}

// canonicalQuery sorts parameters and values and escapes them as RFC 3986 has it, so a space is %20.
func canonicalQuery(values url.Values) string {
	for _, v := range values {
		slices.Sort(v)
	}
	return strings.ReplaceAll(values.Encode(), "+", "%20")
}

// matching returns the name of the digest that turns text into the signature, or "".
func matching(signature, secret, text string) string {
	for name, digest := range signatures {
		mac := hmac.New(digest, []byte(secret))
		mac.Write([]byte(text))
		if hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(signature)) {
			return name
		}
	}
	return ""
}

func parseDate(value string) (time.Time, error) {
	var t time.Time
	var err error
	for _, layout := range dateLayouts {
		if t, err = time.Parse(layout, value); err == nil {
			break
		}
	}
	return t, err
}
