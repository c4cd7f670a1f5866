//go:build race

package duo

func init() { UnderRace = true }
