package checkpoint

import "io/fs"

func warnings(string) []string { return nil }

func notPlanted(string, fs.FileInfo) error { return nil }

func links(fs.FileInfo) uint64 { return 0 }
