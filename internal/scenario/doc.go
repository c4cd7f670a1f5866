// Package scenario holds the tests of the real duo_in.so in a real process:
// the same scenarios in the C host and, where there is one, in Fluent Bit.
//
// They promise that what is claimed of the product was seen of the product:
// every assertion is on what came out of an output, compared with what the
// simulated Duo holds. The rules themselves are tested where they are written.
package scenario
