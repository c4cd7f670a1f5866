package image

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
)

var image = flag.String("image", "", "name of the image to test, which make docker builds as duo_in")

const state = "/var/lib/duo_in"

// hardened is what compose.yaml takes from a container.
var hardened = []string{"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "256m", "--pids-limit", "256"}

// docker runs the client, and returns what it wrote to standard output.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryDocker(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryDocker(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// needImage skips a test that has no image, and says so.
func needImage(t *testing.T) {
	t.Helper()
	if *image == "" {
		t.Skip("SKIPPED, the image is NOT tested: make docker, then go test ./internal/image -image duo_in")
	}
}

// newVolume makes a volume that ends with the test.
func newVolume(t *testing.T) string {
	t.Helper()
	name := docker(t, "volume", "create")
	t.Cleanup(func() { removed(t, "volume", "rm", name) })
	return name
}

// start runs a container that ends with the test, and returns its id.
func start(t *testing.T, args ...string) string {
	t.Helper()
	id := docker(t, append(append([]string{"run", "-d"}, hardened...), args...)...)
	t.Cleanup(func() { removed(t, "rm", "-fv", id) })
	return id
}

// removed takes away what may be gone already.
func removed(t *testing.T, args ...string) {
	_, err := tryDocker(context.Background(), args...)
	if err != nil && !strings.Contains(err.Error(), "No such") {
		t.Error(err)
	}
}

// await asks until it is told yes, at most for a minute.
func await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !yes(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: not %s", what)
		}
	}
}

// startSim runs a simulated Duo without a network. Containers that join its network reach it at 127.0.0.1:8443; it leaves
// the [INPUT] for it in the volume.
func startSim(t *testing.T, volume string, args ...string) string {
	t.Helper()
	id := start(t, append([]string{"--network", "none", "-v", volume + ":" + state, "--entrypoint", "duoctl", *image,
		"sim", "-delay", "1s", "-dir", state + "/sim", "-input-file", state + "/sim/input.conf"}, args...)...)
	await(t, "a simulated Duo that is ready", func() bool {
		_, err := tryDocker(t.Context(), "exec", id, "duoctl", "health", "-ca", state+"/sim/ca.pem",
			"-status", "401", "https://127.0.0.1:8443/admin/v2/logs/activity")
		return err == nil
	})
	return id
}

// file makes one for a container to read, whatever the umask.
func file(t *testing.T, name, content string, mode os.FileMode, uid int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	if uid != os.Getuid() {
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// delivered counts what a container printed, by event_id.
func delivered(t *testing.T, id string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for line := range strings.Lines(docker(t, "logs", id)) {
		var event struct {
			ID string `json:"event_id"`
		}
		if err := json.Unmarshal([]byte(line), &event); err == nil && event.ID != "" {
			count[event.ID]++
		}
	}
	return count
}

// TestDelivers runs the image as the profile sim of compose.yaml does, takes the container away, and has another go on.
func TestDelivers(t *testing.T) {
	needImage(t)
	volume := newVolume(t)
	sim := startSim(t, volume, "-backlog", "300", "-rate", "5")
	config, err := filepath.Abs("../../deploy/docker/sim.conf")
	if err != nil {
		t.Fatal(err)
	}
	run := func() string {
		return start(t, "--network", "container:"+sim, "-v", volume+":"+state, "-v", config+":/fluent-bit/etc/duo_in.conf:ro", *image)
	}
	stop := func(id string) {
		begin := time.Now()
		docker(t, "stop", id)
		took := time.Since(begin)
		t.Logf("docker stop took %v", took.Round(10*time.Millisecond))
		if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", id); code != "0" || took > 8*time.Second {
			t.Errorf("docker stop took %v, exit status %s; want 0 within Docker's 10 s", took, code)
		}
	}

	first := run()
	await(t, "the backlog and some more", func() bool { return len(delivered(t, first)) > 3*300+15 })
	docker(t, "exec", first, "duoctl", "health")
	if user := docker(t, "top", first, "-eo", "uid,gid,pid,args"); !strings.Contains(user, "65532") || strings.Contains(user, "\n    0 ") {
		t.Errorf("it runs as %s", user)
	}
	if diff := docker(t, "diff", first); diff != "" {
		t.Errorf("it wrote beside its volume:\n%s", diff)
	}
	t.Logf("memory: %s", docker(t, "stats", "--no-stream", "--format", "{{.MemUsage}}", first))
	stop(first)
	before := delivered(t, first)
	docker(t, "rm", first) // and not the volume

	second := run()
	await(t, "new events", func() bool { return len(delivered(t, second)) > 30 })
	stop(second)
	again := 0
	for id := range delivered(t, second) {
		again += before[id]
	}
	// What was handed over in the last half second: a poll of each log, on a busy machine some. Without its state all would.
	if again > len(before)/5 {
		t.Errorf("%d of %d events came again", again, len(before))
	}
	t.Logf("%d events, then %d, of which %d again", len(before), len(delivered(t, second)), again)
}

// TestSecretFile mounts the secret as Docker and Compose do.
func TestSecretFile(t *testing.T) {
	needImage(t)
	const at = "/run/secrets/duo_secret_key"
	const own, root, none = 65532, 0, -1
	const warning = "can be read by others"
	tests := map[string]struct {
		mode    os.FileMode
		uid     int
		content string
		want    string // in the log
		ok      bool
	}{
		"its own": {0o400, own, duotest.SecretKey, "caught up with Duo", true},
		// As the users of the machine can: Docker mounts the file, it does not copy it.
		"root's, for all":     {0o444, root, duotest.SecretKey, warning, true},
		"root's, for nobody":  {0o400, root, duotest.SecretKey, "permission denied; the user that runs Fluent Bit must be able to read it", false},
		"its own, of nothing": {0o400, own, "", "the file is empty", false},
		"there is none":       {0, none, "", "cannot be read: stat " + at + ": no such file or directory", false},
	}
	sim := startSim(t, newVolume(t), "-backlog", "5", "-rate", "0")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	docker(t, "cp", sim+":"+state+"/sim/ca.pem", ca)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.uid != none && os.Getuid() != 0 {
				t.Skip("SKIPPED, secrets of other owners are NOT tested: run it as root")
			}
			args := []string{"--network", "container:" + sim, "-v", newVolume(t) + ":" + state, "-v", ca + ":/ca.pem:ro", "-e", "SSL_CERT_FILE=/ca.pem",
				"-e", "DUO_API_HOST=127.0.0.1:8443", "-e", "DUO_INTEGRATION_KEY=" + duotest.IntegrationKey, "-e", "DUO_SECRET_KEY_FILE=" + at}
			if test.uid != none {
				args = append(args, "-v", file(t, "secret", test.content, test.mode, test.uid)+":"+at+":ro")
			}
			id := start(t, append(args, *image)...)
			running := func() bool { return docker(t, "inspect", "-f", "{{.State.Running}}", id) == "true" }
			await(t, "at work, nor at its end", func() bool { return len(delivered(t, id)) > 0 || !running() })
			log := logs(t, id)
			if running() != test.ok || !strings.Contains(log, test.want) || test.want != warning && strings.Contains(log, warning) {
				t.Errorf("at work: %v; want %v and %q, in:\n%s", running(), test.ok, test.want, log)
			}
			if !test.ok && docker(t, "wait", id) == "0" {
				t.Error("exit status 0")
			}
		})
	}
}

// TestPod mounts what kubelet mounts for deploy/kubernetes/single, with the owners and modes that fsGroup gives it, and asks
// what its probes ask.
func TestPod(t *testing.T) {
	needImage(t)
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, the mounts of a pod are NOT tested: run it as root")
	}
	const root, group = 0, 65532
	volume := t.TempDir()
	owned := func(path string, mode os.FileMode) {
		if err := os.Chown(path, root, group); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	owned(volume, 0o775|os.ModeSetgid)
	secret := file(t, "secret_key", duotest.SecretKey, 0o440, root)
	owned(secret, 0o440)
	config, err := filepath.Abs("../../deploy/kubernetes/single")
	if err != nil {
		t.Fatal(err)
	}
	sim := startSim(t, newVolume(t), "-backlog", "5", "-rate", "5")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	docker(t, "cp", sim+":"+state+"/sim/ca.pem", ca)
	for _, pod := range []string{"first", "second"} {
		id := start(t, "--network", "container:"+sim, "-v", volume+":"+state, "-v", config+":/fluent-bit/etc/duo_in:ro",
			"-v", filepath.Dir(secret)+":/run/secrets/duo:ro", "-v", ca+":/ca.pem:ro", "-e", "SSL_CERT_FILE=/ca.pem",
			"-e", "DUO_API_HOST=127.0.0.1:8443", "-e", "DUO_INTEGRATION_KEY="+duotest.IntegrationKey,
			*image, "-e", "/fluent-bit/lib/duo_in.so", "-c", "/fluent-bit/etc/duo_in/duo_in.conf")
		await(t, "events of the "+pod, func() bool { return len(delivered(t, id)) > 0 })
		for _, probe := range []string{"uptime", "health"} {
			docker(t, "exec", id, "duoctl", "health", "http://127.0.0.1:2020/api/v1/"+probe)
		}
		for line := range strings.Lines(logs(t, id)) {
			if strings.Contains(line, "[ warn]") && !strings.Contains(line, "is not one of Duo's own") {
				t.Errorf("the %s pod's log has %s", pod, line)
			}
		}
		docker(t, "rm", "-fv", id)
	}
}

// logs returns what a container wrote, to standard error as well.
func logs(t *testing.T, id string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "logs", id).CombinedOutput()
	if err != nil {
		t.Fatalf("docker logs: %v: %s", err, out)
	}
	return string(out)
}
