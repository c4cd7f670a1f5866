// Package duo reads the logs of Duo Security accounts through the Admin API
// and promises that every event a log holds is handed over at least once, in
// Duo's order, together with the cursor that follows it.
//
// A [Poller] owns one stream, which is one log of one account. It asks page
// after page, decides with the pure functions of [Cursor] what is new and
// where to go on, and hands pages to its Deliver function. Trouble of any kind
// is retried for as long as it lasts; a cursor never moves without a page.
//
// What becomes of a delivered page, when its cursor may be stored and where,
// is left to the caller.
package duo
