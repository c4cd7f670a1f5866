package duotest

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

const testHost = "api-test.duosecurity.com"

// epoch is the present of tests with a clock that stands still.
var epoch = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

func frozen(config Config) Config {
	config.Now = func() time.Time { return epoch }
	return config
}

// signed returns a request that a well-behaved client sends at now. It signs on its own, not with the package's code.
func signed(now time.Time, digest func() hash.Hash, target string, params url.Values) *http.Request {
	query := strings.ReplaceAll(params.Encode(), "+", "%20")
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	u.RawQuery = query
	r := httptest.NewRequest(http.MethodGet, u.String(), nil)
	r.RequestURI = "" // so that an http.Client sends it too
	date := now.UTC().Format(time.RFC1123Z)
	mac := hmac.New(digest, []byte(SecretKey))
	fmt.Fprintf(mac, "%s\nGET\n%s\n%s\n%s", date, u.Host, u.Path, query)
	r.Header.Set("Date", date)
	r.Header.Set("Authorization", basic(IntegrationKey, hex.EncodeToString(mac.Sum(nil))))
	return r
}

func basic(ikey, signature string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(ikey+":"+signature))
}

// ask sends a well-signed request with the given "name=value" parameters to a server whose clock stands at epoch.
func ask(s *Server, log string, params ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, signed(epoch, sha512.New, "https://"+testHost+pathOf(log), values(params...)))
	return w
}

func pathOf(log string) string {
	for _, k := range kinds {
		if k.name == log {
			return k.path
		}
	}
	return log
}

func values(params ...string) url.Values {
	v := url.Values{}
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		v.Add(name, value)
	}
	return v
}

// between returns mintime and maxtime as parameters.
func between(from, to time.Time) []string {
	return []string{"mintime=" + strconv.FormatInt(from.UnixMilli(), 10), "maxtime=" + strconv.FormatInt(to.UnixMilli(), 10)}
}

// decoded is a page as a client sees it.
type decoded struct {
	ids    []string
	cursor string // next_offset, joined by a comma; "" at the end
	total  int
}

func decode(t *testing.T, body []byte) decoded {
	t.Helper()
	var envelope struct {
		Stat     string
		Response struct {
			Authlogs, Items []map[string]any
			Metadata        struct {
				NextOffset   any `json:"next_offset"`
				TotalObjects int `json:"total_objects"`
			}
		}
	}
	if err := json.Unmarshal(body, &envelope); err != nil || envelope.Stat != "OK" {
		t.Fatalf("not a page: %v: %.300s", err, body)
	}
	d := decoded{ids: []string{}, total: envelope.Response.Metadata.TotalObjects}
	for _, record := range append(envelope.Response.Authlogs, envelope.Response.Items...) {
		for _, name := range []string{"txid", "activity_id", "telephony_id"} {
			// A telephony record has a txid too, which is not its id.
			if id, ok := record[name].(string); ok && (name != "txid" || record["telephony_id"] == nil) {
				d.ids = append(d.ids, id)
			}
		}
	}
	switch offset := envelope.Response.Metadata.NextOffset.(type) {
	case string:
		d.cursor = offset
	case []any:
		d.cursor = strings.Trim(fmt.Sprintf("%s,%s", offset...), ",")
	}
	return d
}

// walk follows next_offset to the end and returns the ids of each page.
func walk(t *testing.T, s *Server, log string, params ...string) [][]string {
	t.Helper()
	var pages [][]string
	cursor := ""
	for range 1000 {
		p := params
		if cursor != "" {
			p = append(p[:len(p):len(p)], "next_offset="+cursor)
		}
		w := ask(s, log, p...)
		if w.Code != http.StatusOK {
			t.Fatalf("page %d: status %d: %s", len(pages), w.Code, w.Body)
		}
		page := decode(t, w.Body.Bytes())
		pages = append(pages, page.ids)
		if cursor = page.cursor; cursor == "" {
			return pages
		}
	}
	t.Fatal("a walk of 1000 pages did not end")
	return nil
}

// event returns a small record of a v2 log.
func event(id string, at time.Time) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"activity_id": %q, "ts": %q}`, id, stamp(at.UTC())))
}
