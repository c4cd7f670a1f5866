//go:build cgo && linux

package scenario

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// The disk of Fluent Bit's buffer is full: what it takes then it drops, and only
// its own log says so; of its counter of records, the plugin's only sign, the
// first batch that is dropped is in it, and those after that are not. Once
// there is room again, what comes is delivered again.
func TestBufferDiskFull(t *testing.T) {
	outage := underPressure(t, false)
	b := newBed(t, flbtest.FluentBit, duotest.Config{})
	b.backlog(pressed, duotest.Authentication)
	v := newVolume(t, "10M")
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	in := b.input("duo", opt("logs", "authentication"), opt("storage.type", "filesystem"), opt("batch_size", "1M"),
		opt("checkpoint_dir", filepath.Join(v.path, "checkpoints")))
	service := []flbtest.Option{opt("storage.path", filepath.Join(v.path, "storage")),
		opt("http_server", "on"), opt("http_listen", "127.0.0.1"), opt("http_port", port)}
	siem := down(t)
	p := b.startSpec(b.pipeline(service, map[string]*flbtest.Receiver{"duo": siem}, in))
	b.waitFor("full disk", time.Minute, func() bool {
		return strings.Contains(p.Log(), "caught up with Duo") && strings.Contains(p.Log(), "no available chunk")
	})
	b.still("log", func() int { return strings.Count(p.Log(), "no available chunk") })
	pause(outage)
	siem = up(t, siem)
	arrived := func() int { got, _ := byLog(t, siem.Lines()); return got[duotest.Authentication] }
	before := b.still("arrivals", arrived)
	counted := b.counted(port)
	t.Logf("of %d events %d are lost; Fluent Bit counted %d", pressed, pressed-before, counted)
	if counted < before || counted > before+1000 {
		t.Errorf("Fluent Bit counted %d events, and %d arrived: want those and a batch of 1 MB", counted, before)
	}
	b.server.Add(duotest.Authentication, duotest.NewRecords(duotest.Authentication, 99, time.Now().Add(-3*time.Minute), time.Now().Add(-2*time.Minute), 50)...)
	b.waitFor("what comes when there is room", time.Minute, func() bool { return arrived() == before+50 })
	b.stop(p)
}

// counted is what Fluent Bit says that the input gave it.
func (b *bed) counted(port string) int {
	b.t.Helper()
	resp, err := http.Get("http://127.0.0.1:" + port + "/api/v1/metrics")
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var m struct {
		Input map[string]struct{ Records int }
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		b.t.Fatal(err)
	}
	return m.Input["duo.0"].Records
}
