// Package docs holds tests that keep the documents at the module's root true:
// the README and the example configuration.
//
// They promise that what those say about options, logs, dependencies, targets
// and a record's event_id is so, that Fluent Bit starts with the example and with
// the README's YAML, and that it says what the README explains. The README's
// option table itself is made, and tested, by the plugin.
package docs
