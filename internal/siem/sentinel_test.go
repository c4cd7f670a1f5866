//go:build cgo

package siem

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const azureTenant, azureClient, azureSecret, azureToken = "11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000", "an example's secret", "an.azure.token"

// azure judges as Microsoft's identity platform ("OAuth 2.0 client credentials
// flow") and as Azure Monitor ("Logs Ingestion API"), which drops what the stream
// has no column for.
type azure struct{ columns map[string]bool }

func newAzure(t *testing.T) *azure {
	t.Helper()
	var streams map[string]struct{ Columns []struct{ Name, Type string } }
	if err := json.Unmarshal([]byte(read(t, "receivers/sentinel-stream.json")), &streams); err != nil {
		t.Fatal(err)
	}
	s := &azure{map[string]bool{}}
	for _, c := range streams["Custom-Duo_CL"].Columns {
		s.columns[c.Name] = true
	}
	return s
}

func (s *azure) judge(r *http.Request, body []byte) (status int, answer string, events []taken) {
	if r.Host == "login.microsoftonline.com" {
		status, answer = azureLogin(r, body)
		return status, answer, nil
	}
	no := func(status int, code string) (int, string, []taken) {
		return status, fmt.Sprintf(`{"error":{"code":%q}}`, code), nil
	}
	var records []map[string]any
	switch {
	case !strings.HasSuffix(r.Host, ".ingest.monitor.azure.com"):
		return no(404, "NoSuchHost")
	case r.Header.Get("Authorization") != "Bearer "+azureToken:
		return no(401, "AuthenticationFailed")
	case r.URL.Path != "/dataCollectionRules/dcr-00000000000000000000000000000000/streams/Custom-Duo_CL" || r.Method != http.MethodPost:
		return no(404, "NotFound")
	case r.URL.Query().Get("api-version") == "" || !has(r, "Content-Type", "application/json"):
		return no(400, "InvalidRequest")
	case len(body) > 1<<20:
		return no(413, "ContentLengthLimitExceeded")
	case json.Unmarshal(body, &records) != nil:
		return no(400, "InvalidRequestBody")
	}
	for _, record := range records {
		for name := range record {
			if !s.columns[name] {
				delete(record, name)
			}
		}
		at, err := time.Parse(time.RFC3339, fmt.Sprint(record["TimeGenerated"]))
		if err != nil {
			return no(400, "InvalidTime")
		}
		text, _ := record["message"].(string)
		events = append(events, taken{text, at})
	}
	return 204, "", events
}

func azureLogin(r *http.Request, body []byte) (status int, answer string) {
	form, err := url.ParseQuery(string(body))
	switch {
	case r.URL.Path != "/"+azureTenant+"/oauth2/v2.0/token":
		return 400, `{"error":"invalid_request","error_description":"AADSTS90002: Tenant not found."}`
	case err != nil || !has(r, "Content-Type", "application/x-www-form-urlencoded") || form.Get("grant_type") != "client_credentials":
		return 400, `{"error":"unsupported_grant_type"}`
	case form.Get("scope") != "https://monitor.azure.com/.default":
		return 400, `{"error":"invalid_scope"}`
	case form.Get("client_id") != azureClient || form.Get("client_secret") != azureSecret:
		return 401, `{"error":"invalid_client"}`
	}
	return 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":%q}`, azureToken)
}

func TestSentinelJudge(t *testing.T) {
	const auth, kind = "Authorization: Bearer " + azureToken, "Content-Type: application/json"
	const path = "/dataCollectionRules/dcr-00000000000000000000000000000000/streams/Custom-Duo_CL?api-version=2023-01-01"
	const records = `[{"TimeGenerated":"2026-11-22T09:00:00.000Z","message":"{}"}]`
	s := newAzure(t)
	at := func(host string) judge {
		return func(r *http.Request, body []byte) (int, string, []taken) {
			r.Host = host
			return s.judge(r, body)
		}
	}
	judgesAsDocumented(t, at("duo-xxxx.westeurope-1.ingest.monitor.azure.com"), []request{
		{"records", "POST", path, records, []string{auth, kind}, 204},
		{"no token", "POST", path, records, []string{kind}, 401},
		{"another rule", "POST", "/dataCollectionRules/dcr-1/streams/Custom-Duo_CL?api-version=1", records, []string{auth, kind}, 404},
		{"no list", "POST", path, records[1:], []string{auth, kind}, 400},
		{"more than 1 MB", "POST", path, records + strings.Repeat(" ", 1<<20), []string{auth, kind}, 413},
	})
	const form = "Content-Type: application/x-www-form-urlencoded"
	login := func(secret string) string {
		return url.Values{"grant_type": {"client_credentials"}, "scope": {"https://monitor.azure.com/.default"}, "client_id": {azureClient}, "client_secret": {secret}}.Encode()
	}
	judgesAsDocumented(t, at("login.microsoftonline.com"), []request{
		{"a login", "POST", "/" + azureTenant + "/oauth2/v2.0/token", login(azureSecret), []string{form}, 200},
		{"a wrong secret", "POST", "/" + azureTenant + "/oauth2/v2.0/token", login("wrong"), []string{form}, 401},
	})
}

func TestExampleSentinel(t *testing.T) {
	b := newBed(t)
	needsOutput(t, b.fluentBit, "azure_logs_ingestion")
	ca := newAuthority(t)
	w := newProxy(t, ca, newAzure(t).judge)
	b.inCloud(w, ca)
	b.spec.Env = append(b.spec.Env, "AZURE_TENANT_ID="+azureTenant, "AZURE_CLIENT_ID="+azureClient, "AZURE_CLIENT_SECRET="+azureSecret)
	b.run("sentinel.conf", w)
	b.refusedNothing(w)
	b.onTime(w.taken, time.Millisecond)
}
