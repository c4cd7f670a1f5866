package duotest

import (
	"io"
	"net"
	"net/http"
)

// Tunnel returns what an HTTP proxy does when it is asked to CONNECT: it connects the client to the address to, or where that
// is empty to the one that it asked for, until one of them hangs up. It answers 502 if nobody is there.
func Tunnel(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		address := to
		if address == "" {
			address = r.Host
		}
		target, err := net.Dial("tcp", address)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer target.Close()
		w.WriteHeader(http.StatusOK)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		go func() { _, _ = io.Copy(target, buffered); target.Close() }()
		_, _ = io.Copy(conn, target)
	}
}
