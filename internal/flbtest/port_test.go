package flbtest

import (
	"fmt"
	"net"
	"testing"
)

// A port is given to one test only, even if nothing has come to listen on it, and
// never one that somebody has.
func TestFreePort(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		port := FreePort(t)
		if seen[port] || port < firstPort || port >= firstPort+ports {
			t.Fatalf("port %d; given before: %v", port, seen[port])
		}
		seen[port] = true
	}
	next := FreePort(t) + 1
	for _, network := range []string{"tcp", "udp"} {
		addr := fmt.Sprintf("127.0.0.1:%d", next)
		var c interface{ Close() error }
		var err error
		if network == "tcp" {
			c, err = net.Listen("tcp", addr)
		} else {
			c, err = net.ListenPacket("udp", addr)
		}
		if err != nil {
			continue // somebody has it
		}
		nextPort.Store(uint32(next - firstPort - 1))
		if got := FreePort(t); got == next {
			t.Errorf("%s: port %d is in use", network, got)
		}
		c.Close()
	}
}
