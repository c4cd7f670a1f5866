// Package monitor holds what watches duo_in from outside: it promises that the
// dashboards in deploy ask what stands in one table here, that each of their
// queries and of the alerts' is one that Prometheus understands and that finds
// something, and that docs/monitoring.md names the alerts as they are.
//
// What the plugin measures is the plugin's own affair.
package monitor
