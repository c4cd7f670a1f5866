// Package checkpoint remembers how far each log of each account was delivered, and promises that what it remembers
// is never ahead of what Fluent Bit has taken.
//
// Two parts keep that promise. [Ledger] decides which cursors may become durable now: values in, values out, time as
// an argument, no clock, no file, no goroutine. [Store] makes them durable: one readable JSON file per [Stream],
// replaced atomically and synced to the disk, with the generation before it beside it, and with a lock that keeps a
// second owner out. At every instant a sound generation is on the disk; one that is torn, newer than this build or
// another stream's is never taken for "nothing was saved", and never silently replaced. Beside its cursor each file has one
// from minutes before, to go on from when the machine itself went down: what Fluent Bit took is durable only later.
//
// Left to others: what a cursor is (any value that encoding/json can write and read back), when to look whether
// something is due, when to repeat a save that failed, and every log line. The package builds on Unix systems and on Windows.
package checkpoint
