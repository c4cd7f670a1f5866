package duo

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
)

var (
	ownHost   = regexp.MustCompile(`(?i)^api-[0-9a-z]+\.(duosecurity|duofederal)\.com$`)
	ownDomain = regexp.MustCompile(`(?i)\.(duosecurity|duofederal)\.com$`)
	hostname  = regexp.MustCompile(`(?i)^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
)

// ParseHost reads an API host as people paste it and as Duo's account list names
// it, and returns it in lower case: a scheme and trailing slashes go, a port may
// follow.
func ParseHost(v string) (string, error) {
	if scheme, rest, ok := strings.Cut(v, "://"); ok {
		if !strings.EqualFold(scheme, "https") {
			return "", fmt.Errorf("%s is not spoken, only https", scheme)
		}
		v = rest
	}
	v = strings.TrimRight(v, "/")
	name := v
	if h, port, err := net.SplitHostPort(v); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n < 1 {
			return "", fmt.Errorf("the port %q is not a number from 1 to 65535", port)
		}
		name = h
	}
	switch {
	case net.ParseIP(name) == nil && !hostname.MatchString(name), strings.Contains(name, ":") && name == v:
		// An address of version 6 has brackets and a port, or its end would be taken for one.
		return "", errors.New("this is not a host name")
	case ownDomain.MatchString(name) && !ownHost.MatchString(name):
		return "", errors.New("this is not an API host of Duo's")
	}
	return strings.ToLower(v), nil
}

// IsOwnHost reports whether a host, a port may follow, is one of Duo's own, and
// not a gateway or a test server.
func IsOwnHost(hostPort string) bool {
	name, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		name = hostPort
	}
	return ownHost.MatchString(name)
}
