package flbtest

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What a killed sender leaves of a line is none; the next one begins anew.
func TestReceiverOfTornLines(t *testing.T) {
	r, err := NewReceiver("tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	send := func(text string) {
		conn, err := net.Dial("tcp", r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	send("one\r\ntwo\nto")
	want := []string{"one", "two"}
	for range 2 {
		for end := time.Now().Add(time.Minute); len(r.Lines()) < len(want) && time.Now().Before(end); {
			<-time.After(time.Millisecond)
		}
		if diff := cmp.Diff(want, r.Lines()); diff != "" {
			t.Fatalf("lines (-want +got):\n%s", diff)
		}
		send("three\n")
		want = append(want, "three")
	}
}
