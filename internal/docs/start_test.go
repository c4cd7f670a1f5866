//go:build cgo

package docs

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// yaml is the README's input in YAML, with what it needs to run.
func yaml(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, "README.md"), "```yaml\n")
	input, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the README has no YAML")
	}
	return "service: {flush: 1, storage.path: /var/lib/duo_in/storage}\n" + input +
		"  outputs:\n    - {name: stdout, match: duo, format: json_lines}\n"
}

// TestExampleRuns runs the example in Fluent Bit, since only a start tells
// whether the plugin and the outputs accept it: as it is, where it must
// deliver, as the README's YAML does, and with all choices taken, where it must
// try the proxy.
func TestExampleRuns(t *testing.T) {
	fluentBit, ok := flbtest.FluentBitPath()
	if !ok {
		t.Skip("SKIPPED, the example is NOT tested in real Fluent Bit: put fluent-bit on PATH or its path into $FLUENT_BIT")
	}
	plugin, err := flbtest.BuildPlugin(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server := duotest.New(duotest.Config{})
	now := time.Now()
	server.Add("activity", duotest.NewGenerator("activity", 1, duotest.Options{}).Spread(now.Add(-time.Hour), now.Add(-time.Minute*3), 3)...)
	duo, err := server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer duo.Close()

	tests := []struct {
		name, file, config, secretKey string
		want                          string
	}{
		{"as it is", "fluent-bit.conf", read(t, example), duotest.SecretKey, `"eventtype":"activity"`},
		{"as YAML", "fluent-bit.yaml", yaml(t), duotest.SecretKey, `"eventtype":"activity"`},
		{"with all choices", "fluent-bit.conf", everything(t), "", "cannot be reached: proxyconnect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name string, content []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			ca := write("ca.pem", duo.CAPEM)
			config := write(tt.file, []byte(strings.NewReplacer(
				"/var/lib/duo_in", filepath.Join(dir, "state"),
				"/run/secrets/duo_secret_key", write("secret", []byte(duotest.SecretKey)),
				"/etc/ssl/certs/proxy-ca.pem", ca,
				"proxy.example.com:3128", "127.0.0.1:1",
			).Replace(tt.config)))
			args := []string{"-e", plugin, "-c", config}
			if out, err := exec.Command(fluentBit, append(args, "--dry-run")...).CombinedOutput(); err != nil {
				t.Fatalf("--dry-run: %v\n%s", err, out)
			}
			out := runUntil(t, tt.want, exec.Command(fluentBit, args...),
				"DUO_API_HOST="+duo.Addr, "DUO_INTEGRATION_KEY="+duotest.IntegrationKey, "DUO_SECRET_KEY="+tt.secretKey, "SSL_CERT_FILE="+ca)
			for _, bad := range []string{"[error]", "unknown configuration property", "is not an option"} {
				if strings.Contains(out, bad) {
					t.Errorf("the log has %q:\n%s", bad, out)
				}
			}
		})
	}
}

// TestFluentBitSays makes the mistakes whose lines are explained.
func TestFluentBitSays(t *testing.T) {
	fluentBit, ok := flbtest.FluentBitPath()
	if !ok {
		t.Skip("SKIPPED, what Fluent Bit says is NOT tested: put fluent-bit on PATH or its path into $FLUENT_BIT")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "fluent-bit.conf")
	const unreachable = "[SERVICE]\n flush 0.2\n scheduler.base 1\n scheduler.cap 1\n[INPUT]\n name dummy\n samples 1\n" +
		"[OUTPUT]\n name http\n host 127.0.0.1\n port 1\n match *\n retry_limit "
	mistakes := []struct {
		args   []string
		config string
		runs   bool // Fluent Bit goes on all the same
	}{
		{[]string{"-e", "duo_in.so"}, "[INPUT]\n name duo\n", false},
		{nil, "[INPUT]\n name duo\n", false},
		{nil, "[SERVICE]\n storage.path " + file + "/storage\n[INPUT]\n name dummy\n", false}, // nobody can write there
		{nil, "[INPUT]\n name dummy\n storage.type filesystem\n", false},
		{nil, unreachable + "1\n", true},
		{nil, unreachable + "no_retries\n", true},
	}
	rows := tableOf(t, troubleshooting, "| what Fluent Bit says |")
	if len(rows) != len(mistakes) {
		t.Fatalf("%d rows, %d mistakes", len(rows), len(mistakes))
	}
	for i, m := range mistakes {
		if err := os.WriteFile(file, []byte(m.config+"[OUTPUT]\n name null\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		lines := codeSpan.FindAllStringSubmatch(rows[i][0], -1)
		args := append(m.args, "-c", file)
		if m.runs {
			runUntil(t, lines[0][1], exec.Command(fluentBit, args...))
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		out, err := exec.CommandContext(ctx, fluentBit, args...).CombinedOutput()
		cancel()
		for _, line := range lines {
			if err == nil || !strings.Contains(string(out), line[1]) {
				t.Errorf("%v, no %q in\n%s", err, line[1], out)
			}
		}
	}
}

// watched keeps what a process writes, and tells when a text is in it.
type watched struct {
	want  string
	found context.CancelFunc

	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	if strings.Contains(w.buf.String(), w.want) {
		w.found()
	}
	return len(b), nil
}

// runUntil starts Fluent Bit, stops it cleanly once it has written what is
// wanted, and returns all that it wrote. Only a fault takes two minutes.
func runUntil(t *testing.T, want string, cmd *exec.Cmd, env ...string) string {
	t.Helper()
	found, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	w := &watched{want: want, found: cancel}
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := context.AfterFunc(found, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stopped()
	err := cmd.Wait()
	out := w.buf.String()
	if err != nil || !strings.Contains(out, want) {
		t.Fatalf("%v; wanted %q in\n%s", err, want, out)
	}
	return out
}
