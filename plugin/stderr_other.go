//go:build !unix

package main

import "os"

// duplicate is needed on Unix alone, where there is SIGPIPE.
func duplicate(f *os.File) *os.File { return f }
