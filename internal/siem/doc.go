// Package siem holds the tests of examples/: each configuration, as it stands
// there, is run in a real Fluent Bit with the real plugin against a simulated
// Duo, and sends to a receiver that is down for a while.
//
// They promise that what examples/README.md calls run against something was: what
// that has in the end is what Duo filed, each event once, whole, and equal to
// what duo_in is to make of it. What Fluent Bit was only started with is said to
// be so.
//
// Whether the receivers behave as the products do that they stand for is left to
// the tests that make them; those of rsyslog and syslog-ng are the real ones.
package siem
