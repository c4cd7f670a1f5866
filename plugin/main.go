// Command plugin is duo_in.so, a Fluent Bit input plugin that pulls the logs of
// a Duo Security account. It promises that a cursor becomes durable only after
// Fluent Bit has taken the events it stands for, so that whatever happens to
// the process, none is missing.
//
// Reading Duo's API is package duo's work, keeping cursors package
// checkpoint's, and the shape of a record package record's. Delivery is left to
// Fluent Bit's outputs.
package main

// main is never called: Fluent Bit loads a shared library.
func main() {}
