package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
)

// profiled runs a way some more times and writes a profile of the processor to a
// file, unless that is "".
func profiled(file string, rounds int, way func() ([]byte, int, error)) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(fmt.Errorf("profile: %w", err), f.Close())
	}
	for range rounds {
		if _, _, err = way(); err != nil {
			break
		}
	}
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}
