// Package ci holds what GitHub runs to the rules: actions pinned by hash, no more
// rights than needed, nothing of others' in a script, and nothing run that the
// Makefile and .ci do not have.
//
// It has tests only. What only GitHub can tell, whether a workflow passes there,
// is left to it; actionlint, which knows the syntax, is one of CI's own steps.
package ci
