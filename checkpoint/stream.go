package checkpoint

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// self is the account's name in paths and files where the keys are the account's own.
const self = "self"

// Stream names one log of one account.
type Stream struct {
	Host    string `json:"host"`    // the API host; neither its port nor its case tells two streams apart
	Account string `json:"account"` // a child account's id; "" is the account that the keys belong to
	Log     string `json:"log"`     // such as authentication
}

// String returns host/account/log, as the stream's path in the checkpoint folder has them.
func (s Stream) String() string {
	s = s.canonical()
	return s.Host + "/" + s.Account + "/" + s.Log
}

// canonical returns the one spelling of s that paths and files use, so that a gateway's port or a capital letter in
// the configuration does not make it begin again from `since`.
func (s Stream) canonical() Stream {
	s.Host = strings.ToLower(s.Host)
	if host, _, err := net.SplitHostPort(s.Host); err == nil {
		s.Host = host
	}
	if s.Account == "" {
		s.Account = self
	}
	return s
}

// check reports a part of s that cannot be the name of a file or folder of its own.
func (s Stream) check() error {
	for _, part := range []struct{ name, value string }{{"host", s.Host}, {"account", s.Account}, {"log", s.Log}} {
		v := part.value
		if strings.HasPrefix(v, ".") || strings.ContainsAny(v, "/\\\x00") || !filepath.IsLocal(v) { // such as COM1, on Windows
			return fmt.Errorf("stream %q: %s %q cannot be part of a path: it must not be empty, begin with a dot or hold a slash",
				s, part.name, v)
		}
	}
	return nil
}
