//go:build cgo

package siem

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
	"duo_in/internal/ceftest"
	"duo_in/internal/flbtest"
	"duo_in/plugin/record"
)

var products = []product{rsyslog, syslogNG}

// uncomment takes one of an example's choices.
func uncomment(line string) edit { return edit{old: "    #" + line + "\n", new: "    " + line + "\n"} }

// toSIEM leads an example to an address: over TLS by a CA of one's own, or in
// clear if there is none. The simulated Duo's address has a port, which a host in
// a header of RFC 3164 must not have.
func toSIEM(port int, ca *authority) []edit {
	edits := []edit{
		{old: " siem.example.com\n", new: " 127.0.0.1\n"},
		{old: "    port                   6514\n", new: fmt.Sprintf("    port %d\n", port)},
		apiHost,
	}
	if ca != nil {
		return append(edits, edit{old: "#tls.ca_file            /etc/ssl/certs/siem-ca.pem", new: "tls.ca_file " + ca.file})
	}
	for _, line := range []string{"tls                    on", "tls.verify             on", "tls.verify_hostname    on"} {
		edits = append(edits, edit{old: "    " + line + "\n"})
	}
	return edits
}

var apiHost = edit{old: "syslog_hostname_key    host\n", new: "syslog_hostname_preset api-xxxxxxxx.duosecurity.com\n"}

// Choices of the examples.
var (
	rfc3164 = uncomment("syslog_format          rfc3164")
	rfc5424 = edit{old: "syslog_format          rfc3164", new: "syslog_format          rfc5424"}
	cef     = edit{old: "    format            raw\n", new: "    format            cef\n"}
)

// What rsyslog and syslog-ng write is every event, a line each, byte for byte,
// through an outage of theirs.
func TestExampleSyslog(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, p := range products {
		for _, tt := range []struct {
			name, file string
			tls        bool
			edits      []edit
		}{
			{"tls", "syslog.conf", true, nil},
			{"tcp rfc3164", "syslog.conf", false, []edit{rfc3164}},
			{"cef tls", "syslog-cef.conf", true, nil},
			{"cef tcp rfc5424", "syslog-cef.conf", false, []edit{rfc5424}},
		} {
			t.Run(p.name+" "+tt.name, func(t *testing.T) {
				b := newBed(t)
				d := p.run(t, ca)
				edits := toSIEM(d.tcp, nil)
				if tt.tls {
					edits = toSIEM(d.tls, ca)
				}
				b.run(tt.file, d, append(edits, tt.edits...)...)
			})
		}
	}
}

// Over UDP every event comes as well, while the receiver is up. What Fluent Bit
// sends while it is down is lost, and counts as delivered.
func TestExampleSyslogUDP(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, p := range products {
		for name, edits := range map[string][]edit{"raw": nil, "cef rfc3164": {cef, rfc3164}} {
			t.Run(p.name+" "+name, func(t *testing.T) {
				b := newBed(t)
				d := p.run(t, ca)
				config := b.configure("syslog-udp.conf", append(edits,
					edit{old: " siem.example.com\n", new: " 127.0.0.1\n"}, apiHost,
					edit{old: "    port                   514\n", new: fmt.Sprintf("    port %d\n", d.udp)}, b.metrics())...)
				b.file(20)
				b.fileText(hostileText)
				b.start("syslog-udp.conf", config)
				b.waitFor("events", func() bool { return distinct(d.got()) >= 61 })
				d.stop()
				b.file(1, duotest.Telephony)
				b.waitFor("event that counts as delivered", func() bool { return b.delivered() >= 62 })
				d.start()
				b.file(20)
				b.waitFor("events after the outage", func() bool { return distinct(d.got()) >= 121 })
				b.stop()
				missing := b.compare(p.name, formatOf("syslog-udp.conf", config), d.got())
				if len(missing) != 1 {
					t.Errorf("%d events are missing, want 1: the one that was sent during the outage", len(missing))
				}
			})
		}
	}
}

// Over TCP an event counts as delivered when the network has it: a receiver that
// ends without having read it loses it.
func TestSyslogTCPHasNoReceipt(t *testing.T) {
	b := newBed(t)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	b.file(5)
	b.start("syslog.conf", b.configure("syslog.conf", append(toSIEM(l.Addr().(*net.TCPAddr).Port, nil), b.metrics())...))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b.waitFor("events that count as delivered", func() bool { return b.delivered() >= 15 })
	conn.Close()
	b.stop()
}

// The name of a receiver over UDP must be known at the start.
func TestSyslogUDPUnknownHost(t *testing.T) {
	b := newBed(t)
	b.start("syslog-udp.conf", b.configure("syslog-udp.conf", edit{old: " siem.example.com\n", new: " nowhere.invalid\n"}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	exit, err := b.host.Wait(ctx)
	if err != nil || exit == 0 {
		t.Errorf("exit %d, %v", exit, err)
	}
}

// The header, and the line break that ends a message, as the examples and their
// texts have them.
func TestSyslogOnTheWire(t *testing.T) {
	t.Parallel()
	const bom = "\uFEFF"
	for _, tt := range []struct {
		name, file string
		edits      []edit
		want       string // an expression
	}{
		{"rfc5424", "syslog.conf", nil, `^<86>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z api-xxxxxxxx\.duosecurity\.com duo_in - telephony - ` + bom + `\{.*\}$`},
		{"rfc3164", "syslog.conf", []edit{rfc3164}, `^<86>\w{3} [ \d]\d \d\d:\d\d:\d\d api-xxxxxxxx\.duosecurity\.com duo_in: \{.*\}$`},
		{"cef", "syslog-cef.conf", nil, `^<86>\w{3} [ \d]\d \d\d:\d\d:\d\d api-xxxxxxxx\.duosecurity\.com CEF:0\|Duo Security\|`},
		{"cef rfc5424", "syslog-cef.conf", []edit{rfc5424}, `^<86>1 \S+ api-xxxxxxxx\.duosecurity\.com - - - - ` + bom + `CEF:0\|Duo Security\|`},
		{"mode tls alone is in clear", "syslog.conf", []edit{{old: "mode                   tcp\n", new: "mode tls\n"}}, `^<86>1 `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			c := newLines(t, nil)
			b.file(3, duotest.Telephony)
			b.start(tt.file, b.configure(tt.file, append(toSIEM(c.port(), nil), tt.edits...)...))
			b.waitFor("events", func() bool { return distinct(c.got()) >= 3 })
			b.stop()
			for _, line := range c.got() {
				if !regexp.MustCompile(tt.want).MatchString(line) {
					t.Errorf("%q does not match %s", line, tt.want)
				}
			}
		})
	}
}

// What is longer than syslog_maxsize is cut, which the command of the README
// finds, and harms nothing beside it.
func TestSyslogCut(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	find := regexp.MustCompile("grep [^\n`]*").FindString(read(t, "README.md"))
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			b := newBed(t)
			d := p.run(t, ca)
			b.file(10)
			b.fileText(strings.Repeat("x", 60_000))
			b.fileText(strings.Repeat("y", 70_000))
			b.start("syslog.conf", b.configure("syslog.conf", toSIEM(d.tcp, nil)...))
			b.waitFor("events", func() bool { return distinct(d.got()) >= 32 })
			b.stop()
			var whole, cut []string
			for _, line := range d.got() {
				if json.Valid([]byte(line)) {
					whole = append(whole, line)
				} else {
					cut = append(cut, line)
				}
			}
			if missing := b.compare(p.name, record.Raw, whole); len(missing) != 1 {
				t.Errorf("%d events are not whole, want 1", len(missing))
			}
			command := strings.Replace(find, "/var/log/duo/duo.log", d.in("duo.log"), 1)
			found, err := exec.Command("sh", "-c", command).Output()
			if diff := cmp.Diff(strings.Join(cut, "\n")+"\n", string(found)); diff != "" || distinct(cut) != 1 {
				t.Errorf("%s: %v, %d lines are cut (-cut +found):\n%.1000s", command, err, distinct(cut), diff)
			}
		})
	}
}

// The documented limits are many times the largest event that is known.
func TestSyslogMaxsize(t *testing.T) {
	largest := 0
	for _, log := range duotest.AllLogs() {
		g := duotest.NewGenerator(log, 1, duotest.Options{Quirks: 0.3})
		for range 1000 {
			largest = max(largest, len(g.At(time.Now())))
		}
	}
	for _, e := range syslogExamples {
		if !isFluentBit(e.file) {
			continue
		}
		for _, s := range flbtest.ParseConfig(e.file, read(t, e.file)) {
			var limit int
			if _, err := fmt.Sscan(s.Get("syslog_maxsize"), &limit); s.Name == "OUTPUT" && (err != nil || limit < 10*(largest+500) || s.Get("mode") == "udp" && limit > 65_507) {
				t.Errorf("%s: syslog_maxsize %d, %v; the largest event has %d bytes", e.file, limit, err, largest)
			}
		}
	}
	t.Logf("the largest of %d events has %d bytes", 1000*len(duotest.AllLogs()), largest)
}

// A receiver that cannot show a certificate of the right CA, or for the right
// name, gets nothing. When that is mended, everything comes.
func TestSyslogRefuses(t *testing.T) {
	t.Parallel()
	ca, another := newAuthority(t), newAuthority(t)
	for _, tt := range []struct {
		name, certificate string
		issued, known     *authority
		mend              func(edits []edit) []edit
	}{
		{"another CA", "127.0.0.1", ca, another, func(edits []edit) []edit { return edits }},
		{"another name", "collector.example.com", ca, ca, func(edits []edit) []edit {
			return append(edits, uncomment("tls.vhost              collector.example.com"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			certificate := tt.issued.certificate(tt.certificate)
			c := newLines(t, &certificate)
			b.file(10)
			b.start("syslog.conf", b.configure("syslog.conf", toSIEM(c.port(), tt.known)...))
			b.awaitFailures(1)
			b.kill()
			if got := c.got(); len(got) > 0 {
				t.Errorf("it got %q", got)
			}
			b.start("syslog.conf", b.configure("syslog.conf", tt.mend(toSIEM(c.port(), tt.issued))...))
			b.waitFor("events", func() bool { return distinct(c.got()) >= 30 })
			b.stop()
		})
	}
}

// rsyslog's own parser of CEF reads what ceftest reads. It loses the first letter
// of the first key (liblognorm 2.0.6), which is rt.
func TestCEFInRsyslog(t *testing.T) {
	b := newBed(t)
	ca := newAuthority(t)
	d := rsyslog.run(t, ca,
		edit{old: "module(load=\"imtcp\")\n", new: "module(load=\"imtcp\")\nmodule(load=\"mmnormalize\")\n"},
		edit{old: "fileCreateMode=\"0640\")\n", new: `fileCreateMode="0640")
    set $.cef = re_extract($rawmsg, "CEF:.*", 0, 0, "");
    action(type="mmnormalize" variable="$.cef" rule=["rule=:%cef:cef%"])
    action(type="omfile" file="DIR/cef.log" template="cef")
`},
		edit{old: "ruleset(name=\"duo\") {\n", new: "template(name=\"cef\" type=\"string\" string=\"%$!%\\n\")\nruleset(name=\"duo\") {\n"})
	b.file(30)
	b.fileText(hostileText)
	b.start("syslog-cef.conf", b.configure("syslog-cef.conf", toSIEM(d.tls, ca)...))
	b.waitFor("events", func() bool { return len(d.got()) >= 91 && len(d.lines("cef.log")) >= 91 })
	b.stop()
	parsed := d.lines("cef.log")
	for i, line := range d.got() {
		want, err := ceftest.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			CEF struct {
				DeviceVendor, DeviceProduct, DeviceVersion, SignatureID, Name, Severity string
				Extensions                                                              map[string]string
			}
		}
		if err := json.Unmarshal([]byte(parsed[i]), &got); err != nil {
			t.Fatalf("%v: %s", err, parsed[i])
		}
		fields := got.CEF.Extensions
		fields["rt"] = fields["t"]
		delete(fields, "t")
		fields["version"], fields["signature"], fields["name"], fields["severity"] = got.CEF.DeviceVersion, got.CEF.SignatureID, got.CEF.Name, got.CEF.Severity
		if diff := cmp.Diff(want, fields); diff != "" || got.CEF.DeviceVendor != "Duo Security" || got.CEF.DeviceProduct != "duo_in" {
			t.Errorf("%s\n(-ceftest +rsyslog):\n%s", line, diff)
		}
	}
}
