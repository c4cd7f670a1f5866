//go:build race

package duo_test

// Under the race detector what is allocated is larger.
func init() { mostAllocated = 40 }
