// Package flbtest runs the plugin inside a host, a small C program that
// behaves as Fluent Bit's Go proxy does or a real Fluent Bit, and reads back
// what the host delivered. One [Spec] serves both, so that a scenario proven in
// the one can be run in the other.
//
// It promises that a process started here does not outlive the [Process.Kill]
// of its owner, that a record the host wrote whole is read exactly once and in
// order, also where the host was killed in the middle of the next one, and that
// the configuration, which holds secrets, is readable by its owner only.
//
// What to assert about the records is left to the caller, and so is the API
// that the plugin talks to.
package flbtest
