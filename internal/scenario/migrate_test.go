//go:build cgo

package scenario

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// dls is an installation of Duo Log Sync: its configuration, and the
// checkpoints that it left.
type dls struct {
	name    string
	config  string              // with the servers' ports
	network map[string]string   // of each server: tcp, udp or tls
	logs    map[string][]string // the endpoints' logs that each server gets
	cef     bool
	zone    string
	// checkpoints write what Duo Log Sync leaves when a record was the last that
	// it sent, by the endpoint's name.
	checkpoints map[string]func(at time.Time) string
	children    bool
}

func pairCheckpoint(at time.Time) string {
	return fmt.Sprintf(`["%d", "some-id"]`, at.UnixMilli())
}

// localCheckpoint is one millisecond too high, and takes UTC for the zone's time.
func localCheckpoint(zone string) func(time.Time) string {
	return func(at time.Time) string {
		l, err := time.LoadLocation(zone)
		if err != nil {
			panic(err)
		}
		u := at.UTC()
		local := time.Date(u.Year(), u.Month(), u.Day(), u.Hour(), u.Minute(), u.Second(), u.Nanosecond(), l)
		return fmt.Sprintf(`"%d,some-id"`, local.UnixMilli()+1)
	}
}

func numberCheckpoint(unit time.Duration) func(time.Time) string {
	return func(at time.Time) string { return fmt.Sprint(at.UnixNano()/int64(unit) + 1) }
}

const dlsAccount = `account:
  ikey: '%s'
  skey: '%s'
  hostname: '127.0.0.1'
  endpoint_server_mappings:
`

var installations = []dls{
	{
		name: "JSON over TCP",
		config: `servers:
  - {id: siem, hostname: 127.0.0.1, port: PORT-siem, protocol: TCP}
ACCOUNT    - {endpoints: [auth, activity, telephony, trustmonitor, adminaction], server: siem}
`,
		network: map[string]string{"siem": "tcp"},
		logs:    map[string][]string{"siem": {"authentication", "activity", "telephony", "trust_monitor", "administrator"}},
		zone:    "America/New_York",
		checkpoints: map[string]func(time.Time) string{
			"auth": pairCheckpoint, "activity": localCheckpoint("America/New_York"), "telephony": localCheckpoint("America/New_York"),
			"trustmonitor": numberCheckpoint(time.Millisecond), "adminaction": numberCheckpoint(time.Second),
		},
	},
	{
		name: "CEF over TLS and UDP",
		config: `dls_settings: {log_format: CEF}
servers:
  - {id: tls, hostname: 127.0.0.1, port: PORT-tls, protocol: TCPSSL, cert_filepath: CERT}
  - {id: udp, hostname: 127.0.0.1, port: PORT-udp, protocol: UDP}
ACCOUNT    - {endpoints: [auth, telephony], server: tls}
    - {endpoints: [activity], server: udp}
`,
		network: map[string]string{"tls": "tls", "udp": "udp"},
		logs:    map[string][]string{"tls": {"authentication", "telephony"}, "udp": {"activity"}},
		cef:     true, zone: "Asia/Tokyo",
		checkpoints: map[string]func(time.Time) string{
			"auth": pairCheckpoint, "activity": localCheckpoint("Asia/Tokyo"), "telephony": localCheckpoint("Asia/Tokyo"),
		},
	},
	{
		name: "several servers",
		config: `dls_settings: {log_format: JSON, api: {offset: 1, timeout: 120}}
servers:
  - {id: archive, hostname: 127.0.0.1, port: PORT-archive, protocol: TCP}
  - {id: siem, hostname: 127.0.0.1, port: PORT-siem, protocol: UDP}
ACCOUNT    - {endpoints: [auth, activity], server: archive}
    - {endpoints: [auth, telephony], server: siem}
`,
		network: map[string]string{"archive": "tcp", "siem": "udp"},
		logs:    map[string][]string{"archive": {"authentication", "activity"}, "siem": {"authentication", "telephony"}},
		zone:    "UTC",
		checkpoints: map[string]func(time.Time) string{
			"auth": pairCheckpoint, "activity": localCheckpoint("UTC"), "telephony": localCheckpoint("UTC"),
		},
	},
	{
		name: "a service provider",
		config: `dls_settings: {api: {offset: 1}}
servers:
  - {id: siem, hostname: 127.0.0.1, port: PORT-siem, protocol: TCP}
ACCOUNT    - {endpoints: [auth], server: siem}
  is_msp: True
`,
		network:  map[string]string{"siem": "tcp"},
		logs:     map[string][]string{"siem": {"authentication"}},
		zone:     "UTC",
		children: true,
		checkpoints: map[string]func(time.Time) string{
			"auth": pairCheckpoint,
		},
	},
}

// Whoever comes from Duo Log Sync goes on where it stopped: nothing is missed,
// and of what it had sent no more than five minutes come again.
func TestMigration(t *testing.T) {
	duoctl := filepath.Join(t.TempDir(), "duoctl")
	if out, err := exec.Command("go", "build", "-o", duoctl, "../../cmd/duoctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, old := range installations {
		t.Run(old.name, func(t *testing.T) {
			b := newBed(t, flbtest.FluentBit, duotest.Config{})
			servers := map[string]*flbtest.Receiver{}
			ca := filepath.Join(b.dir, "siem.pem")
			for server, network := range old.network {
				servers[server] = b.dlsServer(network, ca)
			}
			filed, last := b.fileForMigration(old)
			spec := b.migrated(duoctl, old, servers, ca, last)
			if out, err := exec.Command(artifacts.hosts[flbtest.FluentBit], "-e", spec.Plugin, "-c", b.write(spec.ConfigName, spec.Config), "--dry-run").CombinedOutput(); err != nil {
				t.Fatalf("--dry-run: %v\n%s", err, out)
			}
			p := b.startSpec(spec)
			for server, logs := range old.logs {
				for _, log := range logs {
					b.waitFor(server+" has "+log, time.Minute, func() bool {
						got := idsIn(servers[server].Lines(), log, old.cef)
						missing := 0
						for id, at := range filed[log] {
							if at.After(last) && got[id] == 0 {
								missing++
							}
						}
						return missing == 0
					})
				}
			}
			b.stop(p)
			for server, logs := range old.logs {
				for _, log := range logs {
					b.fromTheRightPlace(server+": "+log, idsIn(servers[server].Lines(), log, old.cef), filed[log], last)
				}
			}
		})
	}
}

// fileForMigration files an event of each log every four minutes of some hours,
// few enough for a receiver's socket to hold all that come as datagrams at once,
// and returns when each happened, by what identifies it, and when the last
// that Duo Log Sync sent.
func (b *bed) fileForMigration(old dls) (filed map[string]map[string]time.Time, last time.Time) {
	now := time.Now().Truncate(time.Second)
	last = now.Add(-110 * time.Minute)
	filed = map[string]map[string]time.Time{}
	add := b.server.Add
	if old.children {
		child, err := b.duo.AddChild(duotest.Child{ID: "DACHILD0000000000001", Name: "Child"})
		if err != nil {
			b.t.Fatal(err)
		}
		add = child.Add
	}
	for i, log := range []string{"authentication", "activity", "telephony", "trust_monitor", "administrator"} {
		filed[log] = map[string]time.Time{}
		g := duotest.NewGenerator(log, uint64(i+1), duotest.Options{})
		for i := range 50 {
			at := last.Add(time.Duration(i-25) * 4 * time.Minute)
			raw := g.At(at)
			add(log, raw)
			filed[log][identity(b.t, raw, log)] = at
		}
	}
	return filed, last
}

// identity is what tells a record of a log from the others.
func identity(t *testing.T, raw json.RawMessage, log string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	if log == duotest.Administrator {
		return fmt.Sprint(fields["timestamp"])
	}
	return fields[idKeys[log]].(string)
}

var external = regexp.MustCompile(` externalId=([^ ]+)`)

// idsIn counts the records of a log in what a server got.
func idsIn(lines []string, log string, cef bool) map[string]int {
	got := map[string]int{}
	for _, line := range lines {
		if cef {
			if m := external.FindStringSubmatch(line); m != nil {
				got[m[1]]++
			}
			continue
		}
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) != nil || fields["eventtype"] != log {
			continue
		}
		if log == duotest.Administrator {
			got[fmt.Sprint(fields["timestamp"])]++
			continue
		}
		id, _ := fields[idKeys[log]].(string)
		got[id]++
	}
	return got
}

// dlsServer is a server of Duo Log Sync's; of one over TLS the certificate is
// written to ca.
func (b *bed) dlsServer(network, ca string) *flbtest.Receiver {
	b.t.Helper()
	if network != "tls" {
		return receiver(b.t, network)
	}
	s := httptest.NewTLSServer(nil) // for its certificate, which is good for 127.0.0.1
	s.Close()
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		b.t.Fatal(err)
	}
	r, err := flbtest.NewTLSReceiver(s.TLS.Certificates[0])
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(r.Close)
	return r
}

func (b *bed) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// migrated runs duoctl migrate, and returns what it makes, but for the place of
// the simulated Duo.
func (b *bed) migrated(duoctl string, old dls, servers map[string]*flbtest.Receiver, ca string, last time.Time) flbtest.Spec {
	b.t.Helper()
	text := "version: '1.0.0'\n" + strings.Replace(old.config, "ACCOUNT", fmt.Sprintf(dlsAccount, duotest.IntegrationKey, duotest.SecretKey), 1)
	for server, r := range servers {
		text = strings.ReplaceAll(text, "PORT-"+server, r.Addr[strings.LastIndex(r.Addr, ":")+1:])
	}
	text = strings.ReplaceAll(text, "CERT", ca)
	for endpoint, checkpoint := range old.checkpoints {
		name := endpoint + "_checkpoint_data.txt"
		if old.children {
			name = endpoint + "_checkpoint_data_DACHILD0000000000001.txt"
		}
		b.write(name, checkpoint(last))
	}
	out := filepath.Join(b.dir, "migrated")
	cmd := exec.Command(duoctl, "migrate", "-out", out, "-from-checkpoints", b.dir, "-timezone", old.zone, "-checkpoint-dir", b.state(), b.write("config.yml", text))
	if output, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(output), duotest.SecretKey) {
		b.t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
	conf, err := os.ReadFile(filepath.Join(out, "fluent-bit.conf"))
	if err != nil {
		b.t.Fatal(err)
	}
	if strings.Contains(string(conf), duotest.SecretKey) {
		b.t.Error("the configuration holds the secret key")
	}
	env, err := os.ReadFile(filepath.Join(out, "duo_in.env"))
	if err != nil {
		b.t.Fatal(err)
	}
	spec := b.spec
	spec.ConfigName = "fluent-bit.conf"
	spec.Config = regexp.MustCompile(`(?m)^    api_host .*$`).ReplaceAllString(string(conf), "    api_host "+b.duo.Addr+"\n    ca_file "+b.ca)
	for line := range strings.Lines(string(env)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			spec.Env = append(spec.Env, line)
		}
	}
	return spec
}

// fromTheRightPlace asserts that all that happened after the last event which
// Duo Log Sync sent has come, and of what happened before it five minutes.
func (b *bed) fromTheRightPlace(what string, got map[string]int, filed map[string]time.Time, last time.Time) {
	b.t.Helper()
	missing, again, older := 0, 0, 0
	for id, at := range filed {
		switch n := got[id]; {
		case at.After(last) && n == 0:
			missing++
		case at.Before(last.Add(-5*time.Minute-2*time.Second)) && n > 0:
			older++
		case !at.After(last) && n > 0:
			again++
		}
	}
	b.t.Logf("%s: %d came, %d of them again", what, len(got), again)
	if missing > 0 || older > 0 {
		b.t.Errorf("%s: of %d events %d are missing, %d are from before the checkpoint's five minutes", what, len(filed), missing, older)
	}
}
