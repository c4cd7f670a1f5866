package main

// version is duo_in's own, as in the User-Agent, the log and CEF; releases
// set it with -ldflags.
var version = "0.1.0"

// userAgent is what Duo sees.
func userAgent() string { return "duo_in/" + version }
