//go:build !unix

package checkpoint

// writable cannot be told beforehand here.
func writable(string) error { return nil }
