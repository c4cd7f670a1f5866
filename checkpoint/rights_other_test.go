//go:build !linux

package checkpoint

import (
	"os"
	"testing"
)

func asUser(*testing.T, string) bool { return os.Geteuid() != 0 }
