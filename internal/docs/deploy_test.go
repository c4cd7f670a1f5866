//go:build cgo

package docs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// deployed are the configurations of deploy/: the one to start with, and what must be delivered by it.
var deployed = []struct {
	name, file string
	env        []string
	want       []string
}{
	{"in the image", "docker/duo_in.conf", []string{"DUO_SECRET_KEY=" + duotest.SecretKey}, []string{`"eventtype":"activity"`}},
	{"in the image, with a file", "docker/duo_in.conf", []string{"DUO_SECRET_KEY_FILE=SECRET"}, []string{`"eventtype":"activity"`}},
	{"sim", "docker/sim.conf", nil, []string{`"eventtype":"activity"`}},
	{"single", "kubernetes/single/duo_in.conf", nil, []string{`"eventtype":"activity"`}},
	{"provider, first", "kubernetes/provider/replica-0.conf", nil, []string{`"account_id":"DA0000000000000000EX"`, `"account_id":"DA0000000000000010EX"`}},
	{"provider, second", "kubernetes/provider/replica-1.conf", nil, []string{`"account_id":"DA0000000000000001EX"`, `"account_id":"DA0000000000000011EX"`}},
}

// TestDeployed starts each with --dry-run, then has it deliver, and asks what the probes ask.
func TestDeployed(t *testing.T) {
	t.Parallel()
	fluentBit, ok := flbtest.FluentBitPath()
	if !ok {
		t.Skip("SKIPPED, the configurations of deploy/ are NOT tested: put fluent-bit on PATH or its path into $FLUENT_BIT")
	}
	plugin, err := flbtest.BuildPlugin(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	duo := startProvider(t)
	for _, tt := range deployed {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			secret, ca := filepath.Join(dir, "secret"), filepath.Join(dir, "ca.pem")
			input := fmt.Sprintf("[INPUT]\n    name duo\n    tag duo\n    storage.type filesystem\n    api_host %s\n    integration_key %s\n"+
				"    secret_key %s\n    ca_file %s\n    checkpoint_dir %s/checkpoints\n", duo.Addr, duotest.IntegrationKey, duotest.SecretKey, ca, dir)
			for path, content := range map[string]string{secret: duotest.SecretKey, ca: string(duo.CAPEM), dir + "/state/sim/input.conf": input} {
				writeFile(t, path, content)
			}
			port := flbtest.FreePort(t)
			copyConfigs(t, path.Dir(tt.file), dir, strings.NewReplacer(
				"/var/lib/duo_in", dir+"/state",
				"/run/secrets/duo/secret_key", secret,
				"http_port         2020", "http_port         "+strconv.Itoa(port),
				"http_listen       0.0.0.0", "http_listen       127.0.0.1",
			))
			args := []string{"-e", plugin, "-c", filepath.Join(dir, path.Base(tt.file))}
			if out, err := exec.Command(fluentBit, append(args, "--dry-run")...).CombinedOutput(); err != nil {
				t.Fatalf("--dry-run: %v\n%s", err, out)
			}
			env := append([]string{"DUO_API_HOST=" + duo.Addr, "DUO_INTEGRATION_KEY=" + duotest.IntegrationKey, "SSL_CERT_FILE=" + ca}, tt.env...)
			for i := range env {
				env[i] = strings.Replace(env[i], "=SECRET", "="+secret, 1)
			}
			p := run(t, fluentBit, args, env)
			p.await(t, "its events", func() bool {
				return !slices.ContainsFunc(tt.want, func(s string) bool { return !strings.Contains(p.output(), s) })
			})
			for _, probe := range []string{"/api/v1/uptime", "/api/v1/health"} {
				p.await(t, probe, func() bool { return status(port, probe) == http.StatusOK })
			}
			p.stop(t)
			for _, bad := range []string{"[error]", "unknown configuration property", "is not an option", "is used but not set"} {
				if strings.Contains(p.output(), bad) {
					t.Errorf("the log has %q:\n%s", bad, p.output())
				}
			}
		})
	}
}

// TestProbesInOutage holds what deploy/kubernetes says of its probes: an output that is down makes no pod unready, one
// that throws away does, and neither makes Kubernetes kill one.
func TestProbesInOutage(t *testing.T) {
	t.Parallel()
	fluentBit, ok := flbtest.FluentBitPath()
	if !ok {
		t.Skip("SKIPPED, the probes of deploy/kubernetes are NOT tested: put fluent-bit on PATH or its path into $FLUENT_BIT")
	}
	service, _, found := strings.Cut(read(t, "deploy/kubernetes/single/duo_in.conf"), "\n[INPUT]")
	if !found {
		t.Fatal("there is no [INPUT]")
	}
	start := func(retryLimit string) (*fluentBitRun, int) {
		dir, port := t.TempDir(), flbtest.FreePort(t)
		config := strings.NewReplacer("/var/lib/duo_in", dir, "2020", strconv.Itoa(port), "0.0.0.0", "127.0.0.1",
			"flush             1", "flush             0.2", "scheduler.cap     60", "scheduler.cap     2\n    scheduler.base    1").Replace(service)
		config += fmt.Sprintf("\n[INPUT]\n    name dummy\n    rate 10\n[OUTPUT]\n    name tcp\n    match *\n    host 127.0.0.1\n    port %d\n    retry_limit %s\n",
			flbtest.FreePort(t), retryLimit)
		writeFile(t, dir+"/fluent-bit.conf", config)
		return run(t, fluentBit, []string{"-c", dir + "/fluent-bit.conf"}, nil), port
	}
	down, downPort := start("no_limits")
	throws, throwsPort := start("1") // Fluent Bit's default

	throws.await(t, "not ready", func() bool { return status(throwsPort, "/api/v1/health") == http.StatusInternalServerError })
	retries := regexp.MustCompile(`fluentbit_output_retries_total\{name="tcp.0"\} (\d+)`)
	down.await(t, "more retries than hc_retry_failure_count", func() bool {
		m := retries.FindStringSubmatch(get(downPort, "/api/v1/metrics/prometheus"))
		if m == nil {
			return false
		}
		n, err := strconv.Atoi(m[1])
		return err == nil && n > 5
	})
	if got := status(downPort, "/api/v1/health"); got != http.StatusOK {
		t.Errorf("an output that is down: health %d, want 200", got)
	}
	if got := status(throwsPort, "/api/v1/uptime"); got != http.StatusOK {
		t.Errorf("an output that throws away: uptime %d, want 200", got)
	}
	down.stop(t)
	throws.stop(t)
}

// startProvider serves a Duo with events of its own and of the accounts of deploy/kubernetes/provider.
func startProvider(t *testing.T) *duotest.Running {
	t.Helper()
	server := duotest.New(duotest.Config{})
	duo, err := server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(duo.Close)
	accounts := []*duotest.Account{server.Account}
	for _, n := range []string{"00", "01", "10", "11"} {
		a, err := duo.AddChild(duotest.Child{ID: "DA00000000000000" + n + "EX", Name: "Customer " + n})
		if err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, a)
	}
	now := time.Now()
	for i, a := range accounts {
		a.Add("activity", duotest.NewGenerator("activity", uint64(i)+1, duotest.Options{}).Spread(now.Add(-time.Hour), now.Add(-3*time.Minute), 3)...)
	}
	return duo
}

// copyConfigs copies the configurations of a folder of deploy/, which may include each other.
func copyConfigs(t *testing.T, folder, dir string, changed *strings.Replacer) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "deploy", folder, "*.conf"))
	if err != nil || len(files) == 0 {
		t.Fatal(folder, err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		writeFile(t, filepath.Join(dir, name), changed.Replace(read(t, path.Join("deploy", folder, name))))
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

var client = &http.Client{Timeout: 5 * time.Second}

// status is that of an answer, 0 if there is none.
func status(port int, path string) int {
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// get returns an answer's body, nothing if there is none.
func get(port int, path string) string {
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // an incomplete one is asked for again
	return string(body)
}

// fluentBitRun is a Fluent Bit that ends with its test.
type fluentBitRun struct {
	cmd  *exec.Cmd
	log  *watched
	done context.Context // ends with the process
	err  error           // its end, once done
}

func run(t *testing.T, fluentBit string, args, env []string) *fluentBitRun {
	t.Helper()
	r := &fluentBitRun{cmd: exec.CommandContext(t.Context(), fluentBit, args...), log: &watched{want: "\x00", found: func() {}}}
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done, ended := context.WithCancel(context.Background())
	r.done = done
	go func() { defer ended(); r.err = r.cmd.Wait() }()
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); <-done.Done() })
	return r
}

func (r *fluentBitRun) output() string {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.log.buf.String()
}

// await asks until it is told yes, for a minute, while Fluent Bit runs.
func (r *fluentBitRun) await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for !yes() {
		select {
		case <-time.After(50 * time.Millisecond):
			continue
		case <-limit:
		case <-r.done.Done():
		}
		t.Fatalf("not %s, in:\n%s", what, r.output())
	}
}

// stop ends Fluent Bit as Docker and Kubernetes do.
func (r *fluentBitRun) stop(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-r.done.Done()
	if r.err != nil {
		t.Errorf("%v:\n%s", r.err, r.output())
	}
}
