// Command demo shows duo_in at work without a Duo account: a simulated Duo, the
// plugin in a real Fluent Bit (or in the C host of the tests where there is
// none), a stop, and a start that goes on where the first run ended.
//
// It promises to end by itself within a minute, to say in numbers whether
// anything was missing, in its exit status too, and to leave nothing behind, no
// process and no file, also when it is interrupted.
//
// Run it from the module's root with "make demo", which builds what it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// timeLimit is for a machine under load; on an idle one it takes 20 seconds.
const timeLimit = 55 * time.Second

func main() { os.Exit(run()) }

func run() int {
	d := demo{out: os.Stdout, backlog: 500, live: 15, down: 3 * time.Second}
	flag.StringVar(&d.duoctl, "duoctl", "build/duoctl", "`path` of the program that simulates Duo")
	flag.StringVar(&d.plugin, "plugin", "build/duo_in.so", "`path` of the plugin")
	flag.IntVar(&d.width, "width", 160, "`characters` of a record that are shown; 0 for all")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	limited, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("took more than %v", timeLimit))
	defer cancel()
	err := d.run(limited)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "demo: interrupted; everything it had started is stopped and removed")
		return 130
	case errors.Is(err, errIncomplete):
		return 1 // the numbers have been shown
	case err != nil:
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}
