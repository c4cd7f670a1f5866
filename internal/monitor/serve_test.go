package monitor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"duo_in/internal/flbtest"
)

var browser = flag.Bool("browser", false, "look at the console in Chromium too, which takes seconds")

// start runs a program until the test is over.
func start(t *testing.T, path string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // by the signal
	})
}

// get asks again and again until the answer is as it should be, which what says
// in words.
func get(t *testing.T, address, what string, ok func(body string) bool) (body string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	err := errors.New("not asked")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var resp *http.Response
		if resp, err = client.Get(address); err != nil {
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if body = string(b); resp.StatusCode == http.StatusOK && ok(body) {
			return body
		}
	}
	t.Fatalf("%s: not %s within a minute (%v): %.2000s", address, what, err, body)
	return ""
}

// TestFluentBitMetrics holds what the queries ask of Fluent Bit itself to what
// it serves: an input and an output with the labels that are asked for.
func TestFluentBitMetrics(t *testing.T) {
	t.Parallel()
	path, ok := flbtest.FluentBitPath()
	if !ok {
		t.Skip("SKIPPED, Fluent Bit's own metrics are NOT looked for: put fluent-bit on PATH or its path into $FLUENT_BIT")
	}
	dir, port := t.TempDir(), flbtest.FreePort(t)
	config := filepath.Join(dir, "fluent-bit.conf")
	text := fmt.Sprintf("[SERVICE]\n flush 0.2\n http_server on\n http_listen 127.0.0.1\n http_port %d\n storage.path %s/storage\n"+
		"[INPUT]\n name dummy\n alias duo\n storage.type filesystem\n[OUTPUT]\n name null\n alias siem\n match *\n", port, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, path, "-c", config)
	var want []string
	for _, name := range askedFor(t) {
		if part, ok := strings.CutPrefix(name, "fluentbit_"); ok {
			label := map[bool]string{true: "duo", false: "siem"}[strings.HasPrefix(part, "input")]
			want = append(want, "\n"+name+`{name="`+label+`"} `)
		}
	}
	if len(want) < 3 {
		t.Fatalf("asked for %q only", want)
	}
	get(t, fmt.Sprintf("http://127.0.0.1:%d/api/v2/metrics/prometheus", port), fmt.Sprintf("all of %q", want), func(body string) bool {
		return !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains("\n"+body, w) })
	})
}

// TestConsole has Prometheus serve the console beside the metrics of testdata,
// with the settings that docs/monitoring.md names.
func TestConsole(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("SKIPPED, the console is NOT served: put prometheus on PATH (Debian: apt-get install prometheus)")
	}
	scrape := read(t, "internal/monitor/testdata/scrape.txt")
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, scrape) }))
	defer target.Close()
	deployed := filepath.Join(root, "deploy", "prometheus")
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	for name, text := range map[string]string{
		config: strings.NewReplacer("127.0.0.1:2020", strings.TrimPrefix(target.URL, "http://"), "30s", "1s").
			Replace(read(t, "deploy/prometheus/prometheus.yml")),
		filepath.Join(dir, "alerts.yml"): `groups: [{name: x, rules: [{alert: DuoInTest, expr: up == 1, annotations: {summary: "all is as it should be"}}]}]`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := fmt.Sprintf("127.0.0.1:%d", flbtest.FreePort(t))
	start(t, path, "--config.file="+config, "--web.listen-address="+address, "--storage.tsdb.path="+t.TempDir(),
		"--web.console.templates="+filepath.Join(deployed, "consoles"))
	page := "http://" + address + "/consoles/duo_in.html"
	body := get(t, page, "the console", func(body string) bool { return strings.Contains(body, "<title>duo_in</title>") })
	if strings.Contains(body, "{{") {
		t.Error("Prometheus left an action of the template in the page")
	}
	up := url.Values{"query": {"count_over_time(duo_in_up[1m]) > 3"}}
	get(t, "http://"+address+"/api/v1/query?"+up.Encode(), "some scrapes", func(body string) bool { return strings.Count(body, `"duo"`) == 3 })
	if *browser {
		look(t, page+"?range=60")
	}
}

// look asserts that the page, drawn by Chromium, has a picture in each panel.
func look(t *testing.T, page string) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("-browser: put chromium on PATH (Debian: apt-get install chromium)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dom, err := exec.CommandContext(ctx, path, "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--virtual-time-budget=20000", "--dump-dom", page).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, drawn, _ := strings.Cut(string(dom), "<main>")
	drawn, _, _ = strings.Cut(drawn, "</main>")
	panels := strings.Count(drawn, "<h3>")
	pictures := len(regexp.MustCompile(`<svg|class="value"`).FindAllString(drawn, -1))
	if want := strings.Count(read(t, "deploy/prometheus/consoles/duo_in.html"), `"kind":`); panels != want || pictures != want {
		t.Errorf("%d panels with %d pictures, want %d", panels, pictures, want)
	}
	if alert := "<b>DuoInTest</b> all is as it should be"; !strings.Contains(drawn, alert) {
		t.Errorf("the page does not say %q", alert)
	}
	if problem := regexp.MustCompile(`(?s)class="(?:error|none)".{0,200}`).FindString(drawn); problem != "" {
		t.Errorf("the page says: %s", problem)
	}
}
