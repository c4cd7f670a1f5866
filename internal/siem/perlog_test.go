//go:build cgo

package siem

import (
	"net"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/plugin/record"
)

// A SIEM for each log, of which one is away: the others get theirs meanwhile.
func TestExampleSIEMPerLog(t *testing.T) {
	for _, tt := range []struct{ file, indent, sep string }{
		{"siem-per-log.conf", "    ", " "},
		{"siem-per-log.yaml", "      ", ": "},
	} {
		t.Run(tt.file, func(t *testing.T) {
			b := newBed(t)
			ca, store := newAuthority(t), newElastic(t)
			splunk, elastic, objects := newWeb(t, ca, hec), newWeb(t, ca, store.judge), newWeb(t, ca, s3)
			b.spec.Env = append(b.spec.Env, "SPLUNK_HEC_TOKEN="+hecToken, "OPENSEARCH_PASSWORD="+store.password, "AWS_ACCESS_KEY_ID="+s3Key, "AWS_SECRET_ACCESS_KEY="+s3Secret)
			line := func(key, value string) string { return "\n" + tt.indent + key + tt.sep + value + "\n" }
			edits := []edit{
				{old: " example-duo-logs\n", new: " example-duo-logs" + line("endpoint", "https://"+objects.addr)},
				{old: " 10m\n", new: " 2s\n"},
				{old: " /var/lib/duo_in/s3\n", new: " " + b.state() + "/s3\n"},
				{old: verifyLine(tt.sep), new: verifyLine(tt.sep) + strings.TrimPrefix(line("tls.ca_file", ca.file), "\n"), times: 3},
			}
			for _, w := range []struct {
				name, port string
				*web
			}{{"splunk.example.com", "8088", splunk}, {"opensearch.example.com", "9200", elastic}} {
				host, port, _ := net.SplitHostPort(w.addr)
				edits = append(edits, edit{old: " " + w.name + "\n", new: " " + host + "\n"}, edit{old: " " + w.port + "\n", new: " " + port + "\n"})
			}
			config := b.configure(tt.file, edits...)
			has := func(w *web, log string) func() bool {
				return func() bool { return len(w.got()) >= len(b.events(log)) }
			}

			splunk.stop()
			b.file(30)
			b.start(tt.file, config)
			b.waitFor("events in OpenSearch", has(elastic, duotest.Activity))
			b.waitFor("events in S3", has(objects, duotest.Telephony))
			b.awaitFailures(1)
			splunk.start()
			b.waitFor("events in Splunk", has(splunk, duotest.Authentication))
			b.stop()
			b.equal("Splunk", record.JSON, splunk.got(), duotest.Authentication)
			b.equal("OpenSearch", record.Flat, elastic.got(), duotest.Activity)
			b.equal("S3", record.JSON, objects.got(), duotest.Telephony)
			for _, w := range []*web{splunk, elastic, objects} {
				b.refusedNothing(w)
			}
			b.onTime(splunk.taken, 2*time.Microsecond)
			b.onTime(elastic.taken, time.Microsecond)
		})
	}
}

// verifyLine is the line that has an output verify certificates.
func verifyLine(sep string) string {
	if sep == " " {
		return "    tls.verify            on\n"
	}
	return "      tls.verify: on\n"
}
