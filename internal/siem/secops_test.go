//go:build cgo

package siem

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const googleAccount, googleToken, secopsCustomer = "duo-in@example.iam.gserviceaccount.com", "a.google.token", "33333333-0000-4000-8000-000000000000"

// google judges as Google's OAuth 2.0 for service accounts and as the Ingestion
// API of Google SecOps do.
type google struct{ key *rsa.PrivateKey }

func (s *google) judge(r *http.Request, body []byte) (status int, answer string, events []taken) {
	no := func(status int, reason string) (int, string, []taken) {
		return status, fmt.Sprintf(`{"error":{"code":%d,"status":%q}}`, status, reason), nil
	}
	switch {
	case r.Host == "oauth2.googleapis.com":
		if err := s.login(r, body); err != nil {
			return 400, fmt.Sprintf(`{"error":"invalid_grant","error_description":%q}`, err), nil
		}
		return 200, fmt.Sprintf(`{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, googleToken), nil
	case r.Host != "europe-malachiteingestion-pa.googleapis.com":
		return no(404, "NOT_FOUND")
	case r.Header.Get("Authorization") != "Bearer "+googleToken:
		return no(401, "UNAUTHENTICATED")
	case r.Method == http.MethodGet && r.URL.Path == "/v2/logtypes":
		return 200, `{"logTypes":[{"logType":"DUO_ACTIVITY"},{"logType":"DUO_AUTH"},{"logType":"DUO_TELEPHONY"},{"logType":"OKTA"}]}`, nil
	case r.Method != http.MethodPost || r.URL.Path != "/v2/unstructuredlogentries:batchCreate":
		return no(404, "NOT_FOUND")
	case len(body) > 1<<20:
		return no(413, "INVALID_ARGUMENT")
	}
	var batch struct {
		Customer string `json:"customer_id"`
		LogType  string `json:"log_type"`
		Entries  []struct {
			Text string    `json:"log_text"`
			Time time.Time `json:"ts_rfc3339"`
		}
	}
	if err := json.Unmarshal(body, &batch); err != nil || batch.Customer != secopsCustomer || len(batch.Entries) == 0 {
		return no(400, "INVALID_ARGUMENT")
	}
	for _, e := range batch.Entries {
		var event struct{ Eventtype string }
		if err := json.Unmarshal([]byte(e.Text), &event); err != nil || secopsTypes[event.Eventtype] != batch.LogType {
			return no(400, "INVALID_ARGUMENT")
		}
		events = append(events, taken{e.Text, e.Time})
	}
	return 200, "{}", events
}

// secopsTypes are what Google has a parser for.
var secopsTypes = map[string]string{"authentication": "DUO_AUTH", "activity": "DUO_ACTIVITY", "telephony": "DUO_TELEPHONY"}

// login looks at the token that a service account has signed.
func (s *google) login(r *http.Request, body []byte) error {
	form, err := url.ParseQuery(string(body))
	if err != nil || r.URL.Path != "/token" || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return fmt.Errorf("no grant of that kind")
	}
	parts := strings.Split(form.Get("assertion"), ".")
	if len(parts) != 3 {
		return fmt.Errorf("no JWT")
	}
	signature, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[2], "="))
	if err != nil {
		return err
	}
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, hash[:], signature); err != nil {
		return err
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return err
	}
	var c struct{ Iss, Scope, Aud string }
	if err := json.Unmarshal(claims, &c); err != nil || c.Iss != googleAccount || c.Aud != "https://oauth2.googleapis.com/token" {
		return fmt.Errorf("claims %s: %v", claims, err)
	}
	return nil
}

// credentials writes a service account's key file.
func (s *google) credentials(t *testing.T) (path string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "example", "private_key_id": "1", "client_email": googleAccount, "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"auth_uri":    "https://accounts.google.com/o/oauth2/auth", "token_uri": "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "secops.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecOpsJudge(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &google{key}
	const auth, path = "Authorization: Bearer " + googleToken, "/v2/unstructuredlogentries:batchCreate"
	batch := func(logType string) string {
		return fmt.Sprintf(`{"customer_id":%q,"log_type":%q,"entries":[{"log_text":"{\"eventtype\":\"activity\"}"}]}`, secopsCustomer, logType)
	}
	judgesAsDocumented(t, func(r *http.Request, body []byte) (int, string, []taken) {
		r.Host = "europe-malachiteingestion-pa.googleapis.com"
		return s.judge(r, body)
	}, []request{
		{"an entry", "POST", path, batch("DUO_ACTIVITY"), []string{auth}, 200},
		{"another log's", "POST", path, batch("DUO_AUTH"), []string{auth}, 400},
		{"no token", "POST", path, batch("DUO_ACTIVITY"), nil, 401},
		{"more than 1 MB", "POST", path, batch("DUO_ACTIVITY") + strings.Repeat(" ", 1<<20), []string{auth}, 413},
	})
	judgesAsDocumented(t, func(r *http.Request, body []byte) (int, string, []taken) {
		r.Host = "oauth2.googleapis.com"
		return s.judge(r, body)
	}, []request{
		{"a JWT that nobody signed", "POST", "/token", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=e30.e30.AAAA", nil, 400},
	})
}

func TestExampleSecOps(t *testing.T) {
	b := newBed(t)
	needsOutput(t, b.fluentBit, "chronicle")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ca, s := newAuthority(t), &google{key}
	w := newProxy(t, ca, s.judge)
	b.inCloud(w, ca)
	b.spec.Env = append(b.spec.Env, "GOOGLE_SERVICE_CREDENTIALS="+s.credentials(t), "SECOPS_CUSTOMER_ID="+secopsCustomer)
	b.run("secops.conf", w)
	b.refusedNothing(w)
	b.onTime(w.taken, time.Second)
}
