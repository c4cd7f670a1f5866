//go:build cgo

package siem

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

const s3Key, s3Secret, s3Region = "AKIDEXAMPLE", "an example's secret", "eu-central-1"

// s3 judges as Amazon S3: the API reference's PutObject and "Authenticating
// Requests (AWS Signature Version 4)". An object is as many events as lines.
func s3(r *http.Request, body []byte) (status int, answer string, events []taken) {
	no := func(status int, code string) (int, string, []taken) {
		return status, "<Error><Code>" + code + "</Code></Error>", nil
	}
	switch signature := s3Signature(r); {
	case r.Header.Get("Authorization") == "":
		return no(403, "AccessDenied")
	case !strings.HasSuffix(r.Header.Get("Authorization"), "Signature="+signature):
		return no(403, "SignatureDoesNotMatch")
	case r.Method != http.MethodPut || !s3Object.MatchString(r.URL.Path):
		return no(404, "NoSuchBucket")
	case r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Content-Type") != "application/x-ndjson":
		return no(400, "InvalidRequest")
	}
	for line := range bytes.Lines(body) {
		events = append(events, taken{text: string(line)})
	}
	return 200, "", events
}

// s3Object is where the examples put their objects.
var s3Object = regexp.MustCompile(`^/example-duo-logs/duo/(telephony/)?\d{4}/\d\d/\d\d/\d{6}-\w+\.json\.gz$`)

var s3Authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=` + s3Key + `/(\d{8})/` + s3Region + `/s3/aws4_request, ?SignedHeaders=([\w;-]+), ?Signature=`)

// s3Signature is what a request's is to be.
func s3Signature(r *http.Request) string {
	m := s3Authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return "none"
	}
	day, signed := m[1], m[2]
	canonical := r.Method + "\n" + (&url.URL{Path: r.URL.Path}).EscapedPath() + "\n" + r.URL.RawQuery + "\n"
	for name := range strings.SplitSeq(signed, ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + signed + "\n" + r.Header.Get("X-Amz-Content-Sha256")
	hash := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), day + "/" + s3Region + "/s3/aws4_request", hex.EncodeToString(hash[:])}, "\n")
	key := []byte("AWS4" + s3Secret)
	for _, part := range []string{day, s3Region, "s3", "aws4_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func TestS3Judge(t *testing.T) {
	const path = "/example-duo-logs/duo/2026/11/22/090000-x.json.gz"
	const signed = "Authorization: AWS4-HMAC-SHA256 Credential=" + s3Key + "/20261122/" + s3Region + "/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature="
	headers := []string{"Content-Encoding: gzip", "Content-Type: application/x-ndjson"}
	judgesAsDocumented(t, s3, []request{
		{"nobody's", "PUT", path, "{}\n", headers, 403},
		{"a wrong signature", "PUT", path, "{}\n", append(headers, signed+strings.Repeat("0", 64)), 403},
		{"another's key", "PUT", path, "{}\n", append(headers, strings.Replace(signed, s3Key, "AKIDOTHER", 1)+strings.Repeat("0", 64)), 403},
	})
}

// s3Edits lead an example to a store of the test's, which gets an object every
// few seconds.
func s3Edits(b *bed, ca *authority, addr string) []edit {
	b.spec.Env = append(b.spec.Env, "AWS_ACCESS_KEY_ID="+s3Key, "AWS_SECRET_ACCESS_KEY="+s3Secret, "AWS_EC2_METADATA_DISABLED=true")
	return []edit{
		{old: "#endpoint              https://minio.example.com:9000", new: "endpoint https://" + addr},
		{old: "upload_timeout        10m", new: "upload_timeout 2s"},
		{old: "/var/lib/duo_in/s3", new: b.state() + "/s3"},
	}
}

// What comes while S3 is away waits in store_dir: Fluent Bit's own account calls
// it delivered.
func TestExampleS3(t *testing.T) {
	b := newBed(t)
	ca := newAuthority(t)
	w := newWeb(t, ca, s3)
	name := "s3.conf"
	config := b.configure(name, append(trusting(ca), s3Edits(b, ca, w.addr)...)...)
	complete := func() bool { return len(w.got()) >= len(b.events()) }
	b.file(30)
	b.fileText(hostileText)
	b.start(name, config)
	b.waitFor("objects", complete)
	w.stop()
	b.file(30)
	b.waitFor("failure to upload", func() bool { return strings.Contains(b.host.Log(), "Could not send chunk") })
	w.start()
	b.waitFor("objects after the outage", complete)
	b.stop()
	b.refusedNothing(w)
	b.equal(name, formatOf(name, config), w.got())
}
