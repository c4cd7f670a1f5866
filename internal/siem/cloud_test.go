//go:build cgo

package siem

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// needsOutput skips a test loudly where Fluent Bit was built without an output:
// the official images have all of them.
func needsOutput(t *testing.T, bin, output string) {
	t.Helper()
	if !hasOutput(t, bin, output) {
		t.Skipf("NO OUTPUT %s in %s: %s was NOT run", output, bin, t.Name())
	}
}

func hasOutput(t *testing.T, bin, output string) bool {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), bin, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(output) + ` `).Match(help)
}

// inCloud has Fluent Bit reach every host through a proxy, and trust an authority
// as if it were the system's: outputs of one cloud only have fixed addresses, and
// no option for what they trust. It runs in a mount namespace of its own, in which
// the test's certificate is all there is in /etc/ssl/certs.
func (b *bed) inCloud(proxy *web, ca *authority) {
	b.t.Helper()
	certs := b.t.TempDir()
	pem, err := os.ReadFile(ca.file)
	ca.check(err)
	ca.check(os.WriteFile(filepath.Join(certs, "ca-bundle.crt"), pem, 0o644))
	unshare := "unshare --mount"
	if os.Getuid() != 0 {
		unshare += " --map-root-user"
	}
	script := filepath.Join(b.dir, "in-cloud")
	text := fmt.Sprintf("#!/bin/sh\nexec %s sh -c 'mount --bind %s /etc/ssl/certs && exec \"$0\" \"$@\"' %s \"$@\"\n", unshare, certs, b.fluentBit)
	ca.check(os.WriteFile(script, []byte(text), 0o755))
	if out, err := exec.CommandContext(b.t.Context(), script, "--version").CombinedOutput(); err != nil {
		b.t.Skipf("NO MOUNT NAMESPACE: %s was NOT run: %v: %s", b.t.Name(), err, out)
	}
	b.fluentBit = script
	b.spec.Env = append(b.spec.Env, "HTTP_PROXY=http://"+proxy.addr, "http_proxy=", "NO_PROXY=", "no_proxy=")
}
