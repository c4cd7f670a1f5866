package flbtest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

// Ports that FreePort chooses from are below those that systems give to who asks
// for any, a client's end of each connection among them: Linux from 32768.
const (
	firstPort = 15000
	ports     = 16000
)

// nextPort is where the next search begins. Each process begins elsewhere, and no
// test of it gets the port of another.
var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(ports)) }

// FreePort is FindPort for a test, which it ends if there is none.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := FindPort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// FindPort returns a port of the loopback interface that nothing listens on, by
// TCP or UDP, for a program that can only be told one. Nobody is given it by
// chance until that program has it.
func FindPort() (int, error) {
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer l.Close()
		pc, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		defer pc.Close()
		return port, nil
	}
	return 0, fmt.Errorf("no port of %d to %d is free", firstPort, firstPort+ports-1)
}
