//go:build !linux

package checkpoint

import "errors"

func steps(string) error { return errors.ErrUnsupported }
