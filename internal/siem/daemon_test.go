//go:build cgo

package siem

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"duo_in/internal/flbtest"
)

// product is a receiver that people run: a program and its example of
// examples/receivers.
type product struct {
	name    string
	config  string                             // below examples/
	program func() (path string, env []string) // "" if it is not here
	args    func(*daemon) []string
	edits   func(*daemon) []edit
}

var rsyslog = product{
	name: "rsyslog", config: "receivers/rsyslog.conf",
	program: findRsyslog,
	args:    func(d *daemon) []string { return []string{"-n", "-f", d.in("config"), "-i", d.in("pid")} },
	edits: func(d *daemon) []edit {
		return append(d.ports(`port="%d"`, `port="%d" address="127.0.0.1"`),
			edit{old: "/etc/rsyslog.d/", new: d.dir + "/", times: 3},
			edit{old: `"/var/log/duo/`, new: `"` + d.dir + "/", times: 2},
			edit{old: "global(\n", new: "global(\n    workDirectory=\"" + d.dir + "\"\n"})
	},
}

var syslogNG = product{
	name: "syslog-ng", config: "receivers/syslog-ng.conf",
	program: findSyslogNG,
	args: func(d *daemon) []string {
		args := []string{"-F", "--no-caps", "-f", d.in("config"), "-R", d.in("persist"), "-p", d.in("pid"), "-c", d.in("ctl")}
		if modules := syslogNGModules(); modules != "" {
			args = append(args, "--module-path="+modules)
		}
		return args
	},
	edits: func(d *daemon) []edit {
		return append(d.ports("port(%d)", `ip("127.0.0.1") port(%d)`),
			edit{old: "/etc/syslog-ng/", new: d.dir + "/", times: 2},
			edit{old: `"/var/log/duo/`, new: `"` + d.dir + "/"})
	},
}

// lookPath also looks where programs of the system are, which not everybody has
// on PATH.
func lookPath(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		path, _ = exec.LookPath(filepath.Join("/usr/sbin", name))
	}
	return path
}

// findRsyslog finds one that has TLS by OpenSSL.
func findRsyslog() (path string, env []string) {
	for _, modules := range []string{"/usr/lib/*/rsyslog", "/usr/lib*/rsyslog"} {
		if found, _ := filepath.Glob(modules + "/lmnsd_ossl.so"); len(found) > 0 {
			return rsyslogd(), nil
		}
	}
	return "", nil
}

// rsyslogd is a copy of the system's, "" if there is none: where AppArmor knows the
// program by its place, as in Ubuntu, it may not read a test's configuration.
var rsyslogd = sync.OnceValue(func() string {
	path := lookPath("rsyslogd")
	place := filepath.Join(buildDir, "rsyslogd")
	// Not by this process: a program that a child of it may still have open for writing cannot be started.
	if err := exec.Command("cp", path, place).Run(); err != nil {
		return path
	}
	return place
})

// findSyslogNG finds an installed one, or what `dpkg -x` has unpacked of
// syslog-ng-core: Debian installs it in place of rsyslog only.
func findSyslogNG() (path string, env []string) {
	if modules := syslogNGModules(); modules != "" {
		return filepath.Join(syslogNGRoot(), "usr/sbin/syslog-ng"), []string{"LD_LIBRARY_PATH=" + filepath.Dir(modules)}
	}
	return lookPath("syslog-ng"), nil
}

func syslogNGRoot() string { return cmp.Or(os.Getenv("SYSLOG_NG"), "/opt/syslog-ng") }

// syslogNGModules is the folder of the modules of the unpacked one, if there is.
func syslogNGModules() string {
	found, _ := filepath.Glob(filepath.Join(syslogNGRoot(), "usr/lib/syslog-ng/*/libsyslogformat.so"))
	if len(found) == 0 {
		return ""
	}
	return filepath.Dir(found[0])
}

// daemon is a product at work: a process of the test's, on ports of its own of
// the loopback interface, that writes a line for each event.
type daemon struct {
	t             *testing.T
	product       product
	dir           string
	tls, tcp, udp int // ports
	process       *exec.Cmd
	said          bytes.Buffer // by the process; to be read when it is gone
	gone          chan struct{}
}

// run starts a product with its example, with a certificate of the CA's and with
// more edits, in which DIR is its folder. Without the product the test is skipped.
func (p product) run(t *testing.T, ca *authority, more ...edit) *daemon {
	t.Helper()
	if path, _ := p.program(); path == "" {
		t.Skipf("NO %s: %s was NOT run: .ci/run installs it", strings.ToUpper(p.name), t.Name())
	}
	d := &daemon{t: t, product: p, dir: t.TempDir(), tls: flbtest.FreePort(t), tcp: flbtest.FreePort(t), udp: flbtest.FreePort(t)}
	ca.files(d.dir, ca.certificate("127.0.0.1"))
	config := strings.ReplaceAll(substitute(t, p.config, append(p.edits(d), more...)...), "DIR/", d.dir+"/")
	ca.check(os.WriteFile(d.in("config"), []byte(config), 0o600))
	t.Cleanup(func() {
		if d.process != nil {
			d.stop()
		}
	})
	d.start()
	return d
}

func (d *daemon) in(name string) string { return filepath.Join(d.dir, name) }

// ports are the edits that give an example free ports, and no other interface.
func (d *daemon) ports(old, new string) (edits []edit) {
	for port, free := range map[int]int{6514: d.tls, 601: d.tcp, 514: d.udp} {
		edits = append(edits, edit{old: fmt.Sprintf(old, port), new: fmt.Sprintf(new, free)})
	}
	return edits
}

// start waits until the three ports are open.
func (d *daemon) start() {
	d.t.Helper()
	path, env := d.product.program()
	d.process, d.gone = exec.Command(path, d.product.args(d)...), make(chan struct{})
	d.process.Env = append(os.Environ(), env...)
	d.said.Reset()
	d.process.Stdout, d.process.Stderr = &d.said, &d.said
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		_ = d.process.Wait()
		close(d.gone)
	}()
	for end := time.Now().Add(time.Minute); !connects(d.tls) || !connects(d.tcp) || !bound(d.udp); {
		select {
		case <-d.gone:
			d.t.Fatalf("%s has ended:\n%s", d.product.name, &d.said)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(end) {
			d.stop()
			d.t.Fatalf("%s does not listen on %d, %d and %d:\n%s", d.product.name, d.tls, d.tcp, d.udp, &d.said)
		}
	}
}

func connects(port int) bool {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// bound tells whether a UDP port of the loopback interface has a socket.
func bound(port int) bool {
	table, _ := os.ReadFile("/proc/net/udp")
	return strings.Contains(string(table), fmt.Sprintf(" 0100007F:%04X ", port))
}

func (d *daemon) stop() {
	d.t.Helper()
	_ = d.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.gone:
	case <-time.After(30 * time.Second):
		_ = d.process.Process.Kill()
		<-d.gone
		d.t.Errorf("%s does not end", d.product.name)
	}
	d.process = nil
}

// got are the events.
func (d *daemon) got() []string { return d.lines("duo.log") }

// lines are those of a file of the daemon's, as far as they are whole.
func (d *daemon) lines(name string) (lines []string) {
	d.t.Helper()
	text, err := os.ReadFile(d.in(name))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if whole, ok := strings.CutSuffix(line, "\n"); ok {
			lines = append(lines, whole)
		}
	}
	return lines
}
