// Command duoctl accompanies duo_in, the Fluent Bit input plugin for Duo's logs.
//
// Its subcommands need neither Fluent Bit nor cgo. An exit status of 2 means that the command line was wrong, 1 that the
// work failed, 0 that it is done; what went wrong stands on standard error.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// command is a subcommand. Its run method gets what follows its name, and returns an error as it shall be printed.
type command struct {
	name, summary string
	run           func(args []string, stdout, stderr io.Writer) error
}

var commands = []command{
	{"sim", "serve a simulated Duo Admin API, to try out a pipeline without an account", runSim},
	{"check", "tell whether duo_in will work: configuration, network, clock, keys, permission", runCheck},
	{"checkpoint", "show where each log is read on, or set it back to an earlier time", runCheckpoint},
	{"health", "ask a server whether it is well, for the health checks of containers", runHealth},
	{"migrate", "take over from Duo Log Sync: its configuration and its checkpoints", runMigrate},
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// usageError is a mistake in the command line.
type usageError struct{ error }

// run does what the arguments say and returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "":
		printUsage(stderr)
		return 2
	case "-h", "-help", "--help", "help":
		printUsage(stdout)
		return 0
	}
	for _, c := range commands {
		if c.name == name {
			return exitStatus(name, c.run(args[1:], stdout, stderr), stderr)
		}
	}
	fmt.Fprintf(stderr, "duoctl: unknown command %q; run 'duoctl -h' for the list\n", name)
	return 2
}

func exitStatus(name string, err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintf(stderr, "duoctl %s: %v\n", name, err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintf(stderr, "run 'duoctl %s -h' for help\n", name)
		return 2
	}
	return 1
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "duoctl accompanies duo_in, the Fluent Bit input plugin for Duo's logs.\n\nusage: duoctl <command> [flags]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\n'duoctl <command> -h' explains a command and its flags.\n")
}

// parse reads the flags of a subcommand, which takes no other arguments. For -h it prints help and the flags to stdout.
func parse(flags *flag.FlagSet, args []string, stdout io.Writer, help string) error {
	if err := parseFlags(flags, args, stdout, help); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return usageError{fmt.Errorf("argument %q: only flags are expected", flags.Arg(0))}
	}
	return nil
}

// parseFlags is parse for a subcommand that takes arguments behind its flags.
func parseFlags(flags *flag.FlagSet, args []string, stdout io.Writer, help string) error {
	flags.SetOutput(io.Discard) // errors are printed once, by exitStatus
	flags.Usage = func() {}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, "%s\nflags:\n", help)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return err
	case err != nil:
		return usageError{err}
	}
	return nil
}
