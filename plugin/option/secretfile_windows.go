package option

import "io/fs"

// readByOthers and permissions are about modes. On Windows files have access
// lists instead, and their modes say nothing.

func readByOthers(string) bool { return false }

func permissions(string) fs.FileMode { return 0 }
