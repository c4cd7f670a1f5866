//go:build cgo

package scenario

import (
	"bytes"
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

const serviceUnit = "../../deploy/systemd/duo_in.service"

// The command of the packages' service, with their configuration and in the
// environment that systemd gives it, delivers and has nothing to complain about.
func TestPackagedService(t *testing.T) {
	t.Parallel()
	b := newBed(t, flbtest.FluentBit, quickDuo)
	b.backlog(20, duotest.Activity)
	unit := b.text(serviceUnit)
	const command = "\nExecStart=/opt/fluent-bit/bin/fluent-bit -e /usr/lib/duo_in/duo_in.so -c /etc/duo_in/fluent-bit.conf\n" // as startHost's
	const credential = "\nLoadCredential=duo_secret_key:/etc/duo_in/secret_key\n"
	for _, line := range []string{command, credential, "\nStateDirectory=duo_in\n", "\nEnvironmentFile=/etc/duo_in/duo_in.env\n"} {
		if !strings.Contains(unit, line) {
			t.Errorf("%s has no line %q", serviceUnit, strings.TrimSpace(line))
		}
	}
	credentials := filepath.Join(b.dir, "credentials")
	if err := os.Mkdir(credentials, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(credentials, "duo_secret_key"), []byte(duotest.SecretKey+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	spec := b.spec
	spec.ConfigName = "fluent-bit.conf"
	spec.Config = strings.NewReplacer("/var/lib/duo_in", b.state(), "    storage.type  ", "    ca_file           "+b.ca+"\n    storage.type  ").
		Replace(b.text("../../deploy/package/fluent-bit.conf"))
	spec.Env = []string{"CREDENTIALS_DIRECTORY=" + credentials}
	env := strings.NewReplacer("DUO_API_HOST=", "DUO_API_HOST="+b.duo.Addr, "DUO_INTEGRATION_KEY=", "DUO_INTEGRATION_KEY="+duotest.IntegrationKey).
		Replace(b.text("../../deploy/package/duo_in.env"))
	for line := range strings.Lines(env) {
		if !strings.HasPrefix(line, "#") {
			spec.Env = append(spec.Env, strings.TrimSpace(line))
		}
	}
	p := b.startSpec(spec)
	b.waitFor("events", time.Minute, func() bool { return strings.Count(p.Log(), `"eventtype":"activity"`) >= 20 })
	b.stop(p)
	// That it is a test's server is all there is to warn of.
	for _, line := range regexp.MustCompile(`(?m)^.*\[(?: warn|error)\] \[input:duo.*$`).FindAllString(p.Log(), -1) {
		if !strings.Contains(line, "is not one of Duo's own") {
			t.Error(line)
		}
	}
}

// systemd itself finds no fault with the service, nor with a packaged Fluent
// Bit's that has the drop-in.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("NO systemd-analyze: apt-get install systemd; the units were not checked")
	}
	b := &bed{t: t}
	root := t.TempDir()
	units := filepath.Join(root, "usr/lib/systemd/system")
	for path, text := range map[string]string{
		filepath.Join(units, "duo_in.service"):                                     b.text(serviceUnit),
		filepath.Join(units, "fluent-bit.service"):                                 "[Service]\nType=simple\nExecStart=/opt/fluent-bit/bin/fluent-bit -c /etc/fluent-bit/fluent-bit.conf\nRestart=always\n",
		filepath.Join(root, "etc/systemd/system/fluent-bit.service.d/duo_in.conf"): b.text("../../deploy/systemd/fluent-bit.service.d/duo_in.conf"),
		filepath.Join(root, "opt/fluent-bit/bin/fluent-bit"):                       "#!/bin/sh\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if filepath.Base(path) == "fluent-bit" {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sysinit", "basic", "shutdown", "network-online", "multi-user"} {
		if err := os.WriteFile(filepath.Join(units, name+".target"), []byte("[Unit]\nDefaultDependencies=no\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", "--root="+root, "duo_in.service", "fluent-bit.service").CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// text is a file's.
func (b *bed) text(path string) string {
	b.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}
