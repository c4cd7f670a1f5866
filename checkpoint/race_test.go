//go:build race

package checkpoint

func init() { underRace = true }
