package option

import (
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// today is the time of every configuration here.
var today = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// keys is all that must be set.
const keys = `
	api_host        api-00000000.duosecurity.com
	integration_key DI0000000000000000000
	secret_key      0123456789abcdefghijklmnopqrstuvwxyz0123
`

// config returns an [INPUT]'s settings as Fluent Bit does: names in any case,
// the first of two equal ones, an unset one as "".
func config(text string) Getter {
	set := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name = strings.ToLower(name); set[name] == "" {
			set[name] = value
		}
	}
	return func(name string) string { return set[strings.ToLower(name)] }
}

// readers are what the options are read back with.
var readers = map[string]func(Values) any{
	"api_host":        func(o Values) any { return o.Credentials.Host },
	"integration_key": func(o Values) any { return o.Credentials.IntegrationKey },
	"secret_key":      func(o Values) any { return o.Credentials.SecretKey.Reveal() },
	"secret_key_file": func(o Values) any { return o.Credentials.SecretKey.Reveal() },
	"logs":            func(o Values) any { return logNames(o) },
	"since":           func(o Values) any { return o.Since },
	"poll_interval":   func(o Values) any { return o.Window.PollInterval },
	"delay":           func(o Values) any { return o.Window.Delay },
	"overlap":         func(o Values) any { return o.Window.Overlap },
	"checkpoint_dir":  func(o Values) any { return o.CheckpointDir },
	"settle":          func(o Values) any { return o.Settle },
	"format":          func(o Values) any { return o.Format.String() },
	"exclude":         func(o Values) any { return strings.Join(o.Exclude, " ") },
	"page_size":       func(o Values) any { return o.Window.PageSize },
	"batch_size":      func(o Values) any { return o.BatchSize },
	"timeout":         func(o Values) any { return o.Timeout },
	"proxy":           func(o Values) any { return proxyText(o) },
	"ca_file":         func(o Values) any { return o.Transport.CAFile },
	"accounts":        func(o Values) any { return accountsText(o) },
}

func logNames(o Values) string {
	var names []string
	for _, l := range o.Logs {
		names = append(names, l.Name)
	}
	return strings.Join(names, " ")
}

func accountsText(o Values) string {
	if o.Accounts.All {
		return "all"
	}
	return strings.Join(o.Accounts.IDs, " ")
}

func proxyText(o Values) string {
	if o.Transport.Proxy == nil {
		return ""
	}
	return o.Transport.Proxy.String()
}

func TestOptionDefaults(t *testing.T) {
	o, err := Parse(config(keys), today)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"api_host":        "api-00000000.duosecurity.com",
		"integration_key": "DI0000000000000000000",
		"secret_key":      "0123456789abcdefghijklmnopqrstuvwxyz0123",
		"secret_key_file": "0123456789abcdefghijklmnopqrstuvwxyz0123", // the same secret
		"logs":            "authentication activity telephony",
		"since":           today.Add(-24 * time.Hour),
		"poll_interval":   time.Minute,
		"delay":           2 * time.Minute,
		"overlap":         5 * time.Minute,
		"checkpoint_dir":  "/var/lib/duo_in",
		"settle":          2 * time.Second,
		"format":          "json",
		"exclude":         "",
		"page_size":       1000,
		"batch_size":      2 << 20,
		"timeout":         30 * time.Second,
		"proxy":           "",
		"ca_file":         "",
		"accounts":        "",
	}
	got := map[string]any{}
	for _, row := range table {
		got[row.Name] = readers[row.Name](o)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(o.Warnings) > 0 {
		t.Errorf("the defaults are warned of: %q", o.Warnings)
	}
}

// optionFiles makes the files that the tables name, in the working folder.
func optionFiles(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	server.Close()
	for name, content := range map[string]string{
		"secret":      "abcdef0123456789abcdef0123456789abcdef01\n",
		"quoted":      "\"abcdef0123456789abcdef0123456789abcdef01\"\n",
		"empty":       "\n",
		"root.pem":    string(root),
		"nothing.pem": "-----BEGIN NOTHING-----\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// chmod sets a file's mode, whatever the umask is.
func chmod(t *testing.T, name string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

// goodValues has for each option what it takes, and what comes of it.
var goodValues = []struct {
	option, value string
	want          any
}{
	{"api_host", "api-0a1b2c3d.duosecurity.com", "api-0a1b2c3d.duosecurity.com"},
	{"api_host", "api-0a1b2c3d.duofederal.com", "api-0a1b2c3d.duofederal.com"},
	{"api_host", "API-0A1B2C3D.DuoSecurity.com", "api-0a1b2c3d.duosecurity.com"},
	{"api_host", "https://api-0a1b2c3d.duosecurity.com", "api-0a1b2c3d.duosecurity.com"},
	{"api_host", "HTTPS://api-0a1b2c3d.duosecurity.com//", "api-0a1b2c3d.duosecurity.com"},
	{"api_host", "api-0a1b2c3d.duosecurity.com/", "api-0a1b2c3d.duosecurity.com"},
	{"api_host", "api-0a1b2c3d.duosecurity.com:443", "api-0a1b2c3d.duosecurity.com:443"},
	{"api_host", "https://gateway.example.com:8443/", "gateway.example.com:8443"},
	{"api_host", "localhost:8443", "localhost:8443"},
	{"api_host", "127.0.0.1:1", "127.0.0.1:1"},
	{"api_host", "192.0.2.1", "192.0.2.1"},
	{"api_host", "[2001:DB8::1]:8443", "[2001:db8::1]:8443"},
	{"integration_key", "DIabcdefghijklmnopqrs", "DIabcdefghijklmnopqrs"},
	{"secret_key", "abcdef0123456789abcdef0123456789abcdef01", "abcdef0123456789abcdef0123456789abcdef01"},
	{"secret_key_file", "secret", "abcdef0123456789abcdef0123456789abcdef01"},
	{"secret_key_file", "./secret", "abcdef0123456789abcdef0123456789abcdef01"},
	{"logs", "telephony", "telephony"},
	{"logs", "Telephony,ACTIVITY", "telephony activity"},
	{"logs", " telephony , activity,, ", "telephony activity"},
	{"logs", "auth", "authentication"},
	{"logs", "auth, authentication, telephony, Telephony", "authentication telephony"},
	{"logs", "All", "authentication activity telephony trust_monitor"},
	{"logs", "telephony, all", "telephony authentication activity trust_monitor"},
	{"logs", "adminaction, trustmonitor,offline_enrollment, telephony_v1", "administrator trust_monitor offline_enrollment telephony_v1"},
	{"since", "now", today},
	{"since", "NOW", today},
	{"since", "0", today},
	{"since", "90m", today.Add(-90 * time.Minute)},
	{"since", "1h30m", today.Add(-90 * time.Minute)},
	{"since", "30d", today.AddDate(0, 0, -30)},
	{"since", "0.5d", today.Add(-12 * time.Hour)},
	{"since", "180d", today.AddDate(0, 0, -180)},
	{"since", "4320h", today.AddDate(0, 0, -180)},
	{"since", "2026-06-01", time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)},
	{"since", "2026-06-01T10:00:00Z", time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)},
	{"since", "2026-06-01T10:00:00.5+02:00", time.Date(2026, 6, 1, 8, 0, 0, 5e8, time.UTC)},
	{"since", "2026-01-02T12:00:00Z", today.AddDate(0, 0, -180)},
	{"since", "2026-07-01T12:00:00Z", today},
	{"poll_interval", "1s", time.Second},
	{"poll_interval", "90s", 90 * time.Second},
	{"poll_interval", "24h", 24 * time.Hour},
	{"poll_interval", "1d", 24 * time.Hour},
	{"delay", "0", time.Duration(0)},
	{"delay", "0s", time.Duration(0)},
	{"delay", "5m", 5 * time.Minute},
	{"delay", "24h", 24 * time.Hour},
	{"overlap", "0", time.Duration(0)},
	{"overlap", "1h", time.Hour},
	{"overlap", "0.25d", 6 * time.Hour},
	{"checkpoint_dir", "/data/duo/", "/data/duo"},
	{"settle", "500ms", 500 * time.Millisecond},
	{"settle", "1m", time.Minute},
	{"format", "json", "json"},
	{"format", "JSON", "json"},
	{"format", "flat", "flat"},
	{"format", "Raw", "raw"},
	{"format", "CEF", "cef"},
	{"exclude", "access_device.epkey, user.groups", "access_device.epkey user.groups"},
	{"page_size", "1", 1},
	{"page_size", "1000", 1000},
	{"batch_size", "64K", 64 << 10},
	{"batch_size", "64M", 64 << 20},
	{"batch_size", "65536", 65536},
	{"batch_size", "100000", 100000},
	{"batch_size", "512k", 512 << 10},
	{"batch_size", "512KB", 512 << 10},
	{"batch_size", "8 m", 8 << 20},
	{"timeout", "1s", time.Second},
	{"timeout", "10m", 10 * time.Minute},
	{"proxy", "http://proxy.example.com:3128", "http://proxy.example.com:3128"},
	{"proxy", "http://user:p%40ss@proxy.example.com:3128", "http://user:p%40ss@proxy.example.com:3128"},
	{"proxy", "https://proxy.example.com", "https://proxy.example.com"},
	{"ca_file", "root.pem", "root.pem"},
	{"accounts", "all", "all"},
	{"accounts", "ALL, all,", "all"},
	{"accounts", "DA0123456789ABCDEFGHIJ", "DA0123456789ABCDEFGHIJ"},
	{"accounts", "DA2, DA1,,DA2", "DA2 DA1"},
}

// without removes the options that the value of another one is to replace.
func without(text, option string) string {
	if option == "secret_key_file" {
		option = "secret_key"
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != option {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestOptionValues(t *testing.T) {
	optionFiles(t)
	tested := map[string]bool{}
	for _, c := range goodValues {
		tested[c.option] = true
		t.Run(c.option+" "+c.value, func(t *testing.T) {
			o, err := Parse(config(without(keys, c.option)+c.option+" "+c.value), today)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, readers[c.option](o)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, row := range table {
		if !tested[row.Name] {
			t.Errorf("the table has no row for %s", row.Name)
		}
	}
}

func TestOptionNames(t *testing.T) {
	const secret = "abcdef0123456789abcdef0123456789abcdef01"
	for _, c := range []struct {
		name, config  string
		option, value string
	}{
		{"alias ikey", without(keys, "integration_key") + "ikey DIabcdefghijklmnopqrs", "integration_key", "DIabcdefghijklmnopqrs"},
		{"alias skey", without(keys, "secret_key") + "skey " + secret, "secret_key", secret},
		{"the name before the alias", "skey " + secret + keys, "secret_key", "0123456789abcdefghijklmnopqrstuvwxyz0123"},
		{"an empty name, then the alias", without(keys, "secret_key") + "secret_key\nskey " + secret, "secret_key", secret},
		{"any case", without(keys, "api_host") + "Api_Host gateway.example.com", "api_host", "gateway.example.com"},
		{"an alias in any case", without(keys, "secret_key") + "SKEY " + secret, "secret_key", secret},
		{"blanks around the value", without(keys, "api_host") + "api_host \t gateway.example.com \t", "api_host", "gateway.example.com"},
		{"an empty value is none", keys + "format", "format", "json"},
		{"a blank value is none", keys + "format  \t ", "format", "json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := Parse(config(c.config), today)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.value, readers[c.option](o)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.option, diff)
			}
		})
	}
}

// wrongValues has for each option what it refuses, and the log line that names
// the key, the value and what to do.
var wrongValues = []struct{ option, value, want string }{
	{"api_host", "http://api-0a1b2c3d.duosecurity.com", `api_host "http://api-0a1b2c3d.duosecurity.com": http is not spoken, only https; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "https://api-0a1b2c3d.duosecurity.com/admin/v2/logs", `api_host "https://api-0a1b2c3d.duosecurity.com/admin/v2/logs": this is not a host name; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "admin-0a1b2c3d.duosecurity.com", `api_host "admin-0a1b2c3d.duosecurity.com": this is not an API host of Duo's; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "sso-0a1b2c3d.sso.duosecurity.com:443", `api_host "sso-0a1b2c3d.sso.duosecurity.com:443": this is not an API host of Duo's; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "api-.duofederal.com", `api_host "api-.duofederal.com": this is not a host name; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "gateway.example.com:0", `api_host "gateway.example.com:0": the port "0" is not a number from 1 to 65535; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "gateway.example.com:65536", `api_host "gateway.example.com:65536": the port "65536" is not a number from 1 to 65535; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "gateway.example.com:", `api_host "gateway.example.com:": the port "" is not a number from 1 to 65535; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "gateway.example.com:https", `api_host "gateway.example.com:https": the port "https" is not a number from 1 to 65535; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "gateway.example.com:+443", `api_host "gateway.example.com:+443": the port "+443" is not a number from 1 to 65535; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "gateway example.com", `api_host "gateway example.com": this is not a host name; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "-gateway.example.com", `api_host "-gateway.example.com": this is not a host name; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "user@gateway.example.com", `api_host "user@gateway.example.com": this is not a host name; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "2001:db8::1", `api_host "2001:db8::1": this is not a host name; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "[2001:db8::1]", `api_host "[2001:db8::1]": this is not a host name; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"api_host", "https://", `api_host "https://": this is not a host name; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`},
	{"integration_key", `"DIabcdefghijklmnopqrs"`, `integration_key "\"DIabcdefghijklmnopqrs\"": a key consists of letters and digits; paste it without blanks and quotes`},
	{"integration_key", "DIabcdefghij klmnopqrs", `integration_key "DIabcdefghij klmnopqrs": a key consists of letters and digits; paste it without blanks and quotes`},
	{"secret_key", "'abcdef0123456789'", `secret_key [redacted]: a key consists of letters and digits; paste it without blanks and quotes`},
	{"secret_key", "abcdef\u200b0123456789", `secret_key [redacted]: a key consists of letters and digits; paste it without blanks and quotes`},
	{"secret_key_file", "missing", `secret_key_file "missing": cannot be read: stat missing: no such file or directory`},
	{"secret_key_file", ".", `secret_key_file ".": not a file of at most 4096 bytes; it must hold the secret key alone`},
	{"secret_key_file", "empty", `secret_key_file "empty": the file is empty; it must hold the secret key alone`},
	{"secret_key_file", "quoted", `secret_key_file "quoted": a key consists of letters and digits; paste it without blanks and quotes`},
	{"logs", "authentification", `logs "authentification": there is no log "authentification"; the logs are authentication, activity, telephony, trust_monitor, administrator, offline_enrollment, telephony_v1`},
	{"logs", ", ,", `logs ", ,": no log is named`},
	{"since", "yesterday", `since "yesterday": give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now`},
	{"since", "-5m", `since "-5m": give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now`},
	{"since", "-5d", `since "-5d": give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now`},
	{"since", "24", `since "24": give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now`},
	{"since", "2026-02-30", `since "2026-02-30": give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now`},
	{"since", "nand", `since "nand": give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now`},
	{"since", "2026-07-02", `since "2026-07-02": this is in the future`},
	{"since", "2026-07-01T12:00:00.000000001Z", `since "2026-07-01T12:00:00.000000001Z": this is in the future`},
	{"since", "181d", `since "181d": further back than the 180 days that Duo keeps; give at most 180d`},
	{"since", "4320h1ns", `since "4320h1ns": further back than the 180 days that Duo keeps; give at most 180d`},
	{"since", "2020-01-01", `since "2020-01-01": further back than the 180 days that Duo keeps; give at most 180d`},
	{"poll_interval", "60", `poll_interval "60": give a number with its unit (s, m, h, d), such as 60s`},
	{"poll_interval", "999ms", `poll_interval "999ms": give a duration from 1s to 24h`},
	{"poll_interval", "0", `poll_interval "0": give a duration from 1s to 24h`},
	{"poll_interval", "2d", `poll_interval "2d": give a duration from 1s to 24h`},
	{"delay", "-1m", `delay "-1m": give a number with its unit (s, m, h, d), such as 2m`},
	{"delay", "25h", `delay "25h": give a duration from 0s to 24h`},
	{"delay", "NaNd", `delay "NaNd": give a number with its unit (s, m, h, d), such as 2m`},
	{"delay", "1e300d", `delay "1e300d": give a number with its unit (s, m, h, d), such as 2m`},
	{"overlap", "five minutes", `overlap "five minutes": give a number with its unit (s, m, h, d), such as 5m`},
	{"overlap", "24h1s", `overlap "24h1s": give a duration from 0s to 24h`},
	{"settle", "499ms", `settle "499ms": give a duration from 500ms to 1m`},
	{"settle", "61s", `settle "61s": give a duration from 500ms to 1m`},
	{"format", "xml", `format "xml": there is no such format; use json, flat, raw, cef`},
	{"logs", "authentification activity", `logs "authentification activity": there is no log "authentification activity"; the logs are authentication, activity, telephony, trust_monitor, administrator, offline_enrollment, telephony_v1; separate several by commas`},
	{"exclude", "user.groups,,alias", `exclude "user.groups,,alias": path 2, "": is empty; remove the comma too many`},
	{"exclude", `"alias"`, `exclude "\"alias\"": path 1, "\"alias\"": has quotes; write the names without`},
	{"page_size", "0", `page_size "0": give a whole number from 1 to 1000`},
	{"page_size", "1001", `page_size "1001": give a whole number from 1 to 1000`},
	{"page_size", "1e2", `page_size "1e2": give a whole number from 1 to 1000`},
	{"page_size", "1K", `page_size "1K": give a whole number from 1 to 1000`},
	{"batch_size", "65535", `batch_size "65535": give a size from 64K to 64M`},
	{"batch_size", "65M", `batch_size "65M": give a size from 64K to 64M`},
	{"batch_size", "1G", `batch_size "1G": give a size from 64K to 64M`},
	{"batch_size", "1.5M", `batch_size "1.5M": give a number of bytes such as 512K or 2M, from 64K to 64M`},
	{"batch_size", "-2M", `batch_size "-2M": give a number of bytes such as 512K or 2M, from 64K to 64M`},
	{"batch_size", "8MK", `batch_size "8MK": give a number of bytes such as 512K or 2M, from 64K to 64M`},
	{"batch_size", "2MBB", `batch_size "2MBB": give a number of bytes such as 512K or 2M, from 64K to 64M`},
	{"batch_size", "M", `batch_size "M": give a number of bytes such as 512K or 2M, from 64K to 64M`},
	{"batch_size", "99999999999999999999", `batch_size "99999999999999999999": give a number of bytes such as 512K or 2M, from 64K to 64M`},
	{"timeout", "0s", `timeout "0s": give a duration from 1s to 10m`},
	{"timeout", "1h", `timeout "1h": give a duration from 1s to 10m`},
	{"proxy", "proxy.example.com", `proxy "proxy.example.com": give it as http://host:port`},
	{"proxy", "proxy.example.com:3128", `proxy "proxy.example.com:3128": give it as http://host:port`},
	{"proxy", "socks5://proxy.example.com:1080", `proxy "socks5://proxy.example.com:1080": give it as http://host:port`},
	{"proxy", "socks5://user:tops3cret@proxy.example.com:1080", `proxy [redacted]: give it as http://host:port`},
	{"proxy", "socks5://user:#tops3cret@proxy.example.com:1080", `proxy [redacted]: give it as http://host:port`},
	{"proxy", "http://user:tops3cret/@proxy.example.com:3128", `proxy [redacted]: give it as http://host:port`},
	{"proxy", "http://user:#tops3cret@proxy.example.com:3128", `proxy [redacted]: give it as http://host:port`},
	{"proxy", "proxy.example.com:3128:user:tops3cret", `proxy [redacted]: give it as http://host:port`},
	{"proxy", "user:tops3cret@proxy.example.com:3128", `proxy [redacted]: give it as http://host:port`},
	{"ca_file", "missing", `ca_file "missing": read the roots: stat missing: no such file or directory`},
	{"ca_file", "nothing.pem", `ca_file "nothing.pem": nothing.pem holds no certificate in PEM form`},
	{"accounts", ", ,", `accounts ", ,": give all, or the ids of child accounts, separated by commas`},
	{"accounts", "all, DA1", `accounts "all, DA1": give all, or the ids of child accounts, separated by commas`},
	{"accounts", "DA1, ../DA2", `accounts "DA1, ../DA2": an account id is made of at most 32 letters and digits, such as DAXXXXXXXXXXXXXXXXXX; separate several by commas`},
	{"accounts", "self", `accounts "self": an account id is made of at most 32 letters and digits, such as DAXXXXXXXXXXXXXXXXXX; separate several by commas`},
}

func TestOptionProblems(t *testing.T) {
	optionFiles(t)
	tested := map[string]bool{"checkpoint_dir": true} // any path will do; the store has its say at start
	for _, c := range wrongValues {
		tested[c.option] = true
		t.Run(c.option+" "+c.value, func(t *testing.T) {
			got := problemsOf(config(without(keys, c.option) + c.option + " " + c.value))
			if diff := cmp.Diff([]string{c.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, row := range table {
		if !tested[row.Name] {
			t.Errorf("the table has no row for %s", row.Name)
		}
	}
}

// problemsOf returns what is said of a configuration that is refused.
func problemsOf(get Getter) (lines []string) {
	_, err := Parse(get, today)
	if err == nil {
		return nil
	}
	for _, problem := range err.(interface{ Unwrap() []error }).Unwrap() {
		lines = append(lines, problem.Error())
	}
	return lines
}

func TestOptionsMissing(t *testing.T) {
	optionFiles(t)
	const (
		host        = "api_host is missing: set it to the API hostname of the Admin API application, api-XXXXXXXX.duosecurity.com; if it comes from an environment variable, that variable is not set"
		integration = "integration_key is missing: set it to that of the Admin API application; if it comes from an environment variable, that variable is not set"
		secret      = "secret_key is missing: set it, or secret_key_file, to that of the Admin API application; if it comes from an environment variable, that variable is not set"
		both        = "secret_key and secret_key_file are both set: keep one of them"
	)
	for _, c := range []struct {
		name, config string
		want         []string
	}{
		{"all", "", []string{host, integration, secret}},
		{"api_host", without(keys, "api_host"), []string{host}},
		{"integration_key", without(keys, "integration_key"), []string{integration}},
		{"secret_key", without(keys, "secret_key"), []string{secret}},
		{"an unset variable", without(keys, "secret_key") + "secret_key   \n", []string{secret}},
		{"neither", keys, nil},
		{"two secrets", keys + "secret_key_file secret", []string{both}},
		{"two secrets, one by its alias", without(keys, "secret_key") + "skey abc\nsecret_key_file secret", []string{both}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, problemsOf(config(c.config))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestOptionProblemsAtOnce gets everything wrong: each problem has its line, in
// the table's order, under the name that the configuration used.
func TestOptionProblemsAtOnce(t *testing.T) {
	optionFiles(t)
	get := config(`
		api_host http://api-0a1b2c3d.duosecurity.com
		ikey DI 0000
		skey 'abc'
		secret_key_file missing
		logs auth, radius
		since 1y
		poll_interval 1
		delay 2 min
		overlap -1s
		settle 0s
		format text
		page_size all
		batch_size 1K
		timeout never
		proxy ftp://proxy.example.com
		ca_file missing.pem
		accounts DA-1
	`)
	want := []string{
		`api_host "http://api-0a1b2c3d.duosecurity.com": http is not spoken, only https; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)`,
		`ikey "DI 0000": a key consists of letters and digits; paste it without blanks and quotes`,
		`skey [redacted]: a key consists of letters and digits; paste it without blanks and quotes`,
		`secret_key_file "missing": cannot be read: stat missing: no such file or directory`,
		`logs "auth, radius": there is no log "radius"; the logs are authentication, activity, telephony, trust_monitor, administrator, offline_enrollment, telephony_v1`,
		`since "1y": give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now`,
		`poll_interval "1": give a number with its unit (s, m, h, d), such as 60s`,
		`delay "2 min": give a number with its unit (s, m, h, d), such as 2m`,
		`overlap "-1s": give a number with its unit (s, m, h, d), such as 5m`,
		`settle "0s": give a duration from 500ms to 1m`,
		`format "text": there is no such format; use json, flat, raw, cef`,
		`page_size "all": give a whole number from 1 to 1000`,
		`batch_size "1K": give a size from 64K to 64M`,
		`timeout "never": give a number with its unit (s, m, h, d), such as 30s`,
		`proxy "ftp://proxy.example.com": give it as http://host:port`,
		`ca_file "missing.pem": read the roots: stat missing.pem: no such file or directory`,
		`accounts "DA-1": an account id is made of at most 32 letters and digits, such as DAXXXXXXXXXXXXXXXXXX; separate several by commas`,
		`secret_key and secret_key_file are both set: keep one of them`,
	}
	if diff := cmp.Diff(want, problemsOf(get)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAccountsHoldLess: of each of many streams less is held in memory.
func TestAccountsHoldLess(t *testing.T) {
	for _, c := range []struct {
		config         string
		page, remember int
	}{
		{"", 1000, 0},
		{"accounts all", 500, 2500},
		{"accounts DA1\npage_size 100", 100, 2500},
	} {
		o, err := Parse(config(keys+c.config), today)
		if err != nil || o.Window.PageSize != c.page || o.Window.MaxSeen != c.remember {
			t.Errorf("%q: %d records a page and %d remembered, %v; want %d and %d", c.config, o.Window.PageSize, o.Window.MaxSeen, err, c.page, c.remember)
		}
	}
}

// TestSecretFileUnreadable needs a user whom permissions bind.
func TestSecretFileUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can read every file")
	}
	optionFiles(t)
	chmod(t, "secret", 0)
	want := []string{`secret_key_file "secret": cannot be read: open secret: permission denied; the user that runs Fluent Bit must be able to read it`}
	if diff := cmp.Diff(want, problemsOf(config(without(keys, "secret_key")+"secret_key_file secret"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOptionWarnings(t *testing.T) {
	const (
		often   = "poll_interval 9.999s: Duo asks for no more than one call a minute and log, and limits those who make more"
		early   = "delay 1m59s: Duo's logs are consistent only after 2m; events filed later than delay and overlap together can be missed"
		gateway = `api_host "gateway.example.com:8443" is not one of Duo's own; that is right only for a gateway or a test server`
		like    = `api_host "api-0a1b2c3d.duosecurity.com.example.com" is not one of Duo's own; that is right only for a gateway or a test server`
		typo    = "pagesize is not an option of duo_in and has no effect; did you mean page_size?"
	)
	for _, c := range []struct {
		name, config string
		want         []string
	}{
		{"polls often", keys + "poll_interval 9999ms", []string{often}},
		{"polls as often as is well", keys + "poll_interval 10s", nil},
		{"asks early", keys + "delay 119s", []string{early}},
		{"asks late", keys + "delay 3m", nil},
		{"a gateway", without(keys, "api_host") + "api_host gateway.example.com:8443", []string{gateway}},
		{"looks like Duo", without(keys, "api_host") + "api_host api-0a1b2c3d.duosecurity.com.example.com", []string{like}},
		{"Duo with a port", without(keys, "api_host") + "api_host api-0a1b2c3d.duofederal.com:443", nil},
		{"a misspelt name", keys + "pagesize 100", []string{typo}},
		{"a retired log beside its successor", keys + "logs activity, adminaction, telephony_v1", []string{
			"logs: administrator beside activity brings its events twice, in two forms; Duo retires administrator"}},
		{"both retired ones beside activity", keys + "logs administrator, offline_enrollment, activity", []string{
			"logs: administrator beside activity brings its events twice, in two forms; Duo retires administrator",
			"logs: offline_enrollment beside activity brings its events twice, in two forms; Duo retires offline_enrollment"}},
		{"retired logs alone", keys + "logs administrator, telephony_v1", nil},
		{"all of them", without(keys, "api_host") + "api_host gateway.example.com:8443\npoll_interval 9999ms\ndelay 119s\npagesize 1", []string{often, early, gateway, typo}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := Parse(config(c.config), today)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, o.Warnings); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretFileReadableByOthers(t *testing.T) {
	optionFiles(t)
	for _, c := range []struct {
		mode  fs.FileMode
		group int // -1: one of ours
		warn  bool
	}{
		{0o400, -1, false},
		{0o600, -1, false},
		{0o640, -1, false},
		{0o440, -1, false},
		{0o640, 47110, true},
		{0o660, -1, true},
		{0o444, -1, true},
		{0o604, -1, true},
	} {
		t.Run(fmt.Sprint(c.mode, c.group), func(t *testing.T) {
			if c.group >= 0 && os.Geteuid() != 0 {
				t.Skip("NOT ROOT: a file of another group was not tried")
			}
			if err := os.Chown("secret", -1, c.group); err != nil {
				t.Fatal(err)
			}
			chmod(t, "secret", c.mode)
			o, err := Parse(config(without(keys, "secret_key")+"secret_key_file secret"), today)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if c.warn {
				want = []string{fmt.Sprintf("secret_key_file secret can be read by others (mode %04o); make it 0600, or 0640 with a group of duo_in's own", c.mode)}
			}
			if diff := cmp.Diff(want, o.Warnings); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := os.Chown("secret", -1, os.Getegid()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestMountedSecret has a secret as Docker and Kubernetes mount it, 0444 in memory
// and read-only, which is no reason to warn; written to, it is.
func TestMountedSecret(t *testing.T) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("NOT ROOT on Linux: a mounted secret was not tried")
	}
	dir := t.TempDir()
	mount := func(args ...string) bool {
		out, err := exec.Command("mount", append(args, dir)...).CombinedOutput()
		if err != nil {
			t.Logf("mount %v: %v: %s", args, err, out)
		}
		return err == nil
	}
	if !mount("-t", "tmpfs", "none") {
		t.Skip("CANNOT MOUNT: a mounted secret was not tried")
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("x"), 0o444); err != nil {
		t.Fatal(err)
	}
	if !readByOthers(path) {
		t.Error("no warning of a file in memory that is not mounted as a secret")
	}
	if !mount("-o", "remount,ro") {
		t.Skip("CANNOT REMOUNT: a mounted secret was not tried")
	}
	if readByOthers(path) {
		t.Error("a warning of what Docker and Kubernetes mount")
	}
}

// TestUnreadableSecret: who mounts a secret into a container is told whom it is for.
func TestUnreadableSecret(t *testing.T) {
	got := unreadable(&fs.PathError{Op: "open", Path: "secret", Err: fs.ErrPermission}).Error()
	if want := "cannot be read: open secret: permission denied; the user that runs Fluent Bit must be able to read it"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRootsWritableByOthers(t *testing.T) {
	optionFiles(t)
	for mode, want := range map[fs.FileMode]int{0o644: 0, 0o664: 0, 0o666: 1} {
		chmod(t, "root.pem", mode)
		o, err := Parse(config(keys+"\nca_file root.pem"), today)
		if err != nil || len(o.Warnings) != want {
			t.Errorf("mode %04o: warnings %q, error %v; want %d", mode, o.Warnings, err, want)
		}
	}
}

// TestSecretInPlaceOfItsFile is the slip of giving the variable that holds the
// secret to the option that wants a path.
func TestSecretInPlaceOfItsFile(t *testing.T) {
	optionFiles(t)
	const secret = "abcdef0123456789abcdef0123456789abcdef01"
	got := problemsOf(config(without(keys, "secret_key") + "secret_key_file " + secret))
	want := []string{"secret_key_file [redacted]: this looks like the secret key itself; give it as secret_key, or the path of a file that holds it"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever option is given the secret key, with what a slip leaves around it: no
// problem shows it, its cause neither.
func TestSecretInPlaceOfAnything(t *testing.T) {
	optionFiles(t)
	const secret = "abcdef0123456789abcdef0123456789abcdef01"
	for _, row := range Table() {
		for _, value := range []string{secret, `"` + secret + `"`, "'" + secret + "'", secret + ",", "activity, " + secret, "./" + secret, "file:" + secret} {
			for _, problem := range problemsOf(config(without(keys, row.Name) + row.Name + " " + value)) {
				if strings.Contains(problem, secret) {
					t.Errorf("%s %s: %s", row.Name, value, problem)
				}
			}
		}
	}
}

// FuzzOptions has any configuration hold a secret key and a proxy's password:
// it must not panic, and neither secret may be in what is said about it.
func FuzzOptions(f *testing.F) {
	const mark = "tops3cret"
	f.Add("api_host api-0a1b2c3d.duosecurity.com\nikey DI0000", "http", "", "")
	f.Add("logs all\nsince 30d\nbatch_size 8M\ncheckpoint_dir x", "socks5", "#", "")
	f.Add("since infd\ndelay -0d\nbatch_size KMG", "ftp", "12/", " ")
	f.Add("api_host [::1]:1\npage_size 0x10", "http", "?", "\"")
	f.Add("timeout 1e9d\npoll_interval 9223372036854775807ns", "http", "\x00", "%zz")
	f.Add("api-host x\nlog x", "", "@", "/x")
	for _, c := range goodValues {
		f.Add(c.option+" "+c.value, "http", "", "")
	}
	for _, c := range wrongValues {
		f.Add(c.option+" "+c.value, "http", "", "")
	}
	f.Fuzz(func(t *testing.T, text, scheme, before, after string) {
		if strings.Contains(text, mark) || strings.Contains(scheme, mark) {
			t.Skip()
		}
		settings := config(text)
		get := func(name string) string {
			switch name {
			case "secret_key":
				return before + mark + after
			case "proxy":
				return scheme + "://user:" + before + mark + after + "@proxy.example.com:3128"
			case "secret_key_file", "ca_file":
				return "" // not every file there is may be opened
			}
			return settings(name)
		}
		o, err := Parse(get, today)
		for _, said := range append(o.Warnings, fmt.Sprint(err)) {
			if strings.Contains(said, mark) {
				t.Errorf("this shows a secret: %s", said)
			}
		}
		if err == nil && (o.Since.After(today) || o.Window.PageSize < 1 || o.BatchSize < 64<<10 || len(o.Logs) == 0 || o.Credentials.Host == "") {
			t.Errorf("this was passed: %q", text)
		}
	})
}

func TestOptionsReachThePlugin(t *testing.T) {
	taken := map[string]bool{}
	for _, row := range table {
		for _, name := range append([]string{row.Name}, row.Aliases...) {
			if isFluentBits(name) {
				t.Errorf("Fluent Bit keeps %s for itself", name)
			}
			if taken[name] {
				t.Errorf("%s is the name of two options", name)
			}
			if taken[name] = true; name != strings.ToLower(name) {
				t.Errorf("%s has capital letters", name)
			}
		}
	}
}
