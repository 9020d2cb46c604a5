// Command holdfast runs a system of services on this machine, shows it and steers it.
package main

import (
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/cli"
)

func main() {
	// net/http says there what it did not expect of a server, such as one that is not HTTP's. What is wrong is said once, by us.
	log.SetOutput(io.Discard)
	interrupts := make(chan os.Signal, 4)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // under nohup the end of the terminal is not the end of the system
		signal.Notify(interrupts, syscall.SIGHUP)
	}
	os.Exit(cli.Main(cli.Process{
		Args: os.Args, In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Environ: os.Environ, Interrupts: interrupts,
	}))
}
