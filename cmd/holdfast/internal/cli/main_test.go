//go:build unix

package cli_test

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/cli"
)

// This test program is also the program that the systems under test consist of: control members, the guardian, and a
// service.
var selfArgs = []string{"be-holdfast"}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == selfArgs[0] {
		interrupts := make(chan os.Signal, 1)
		signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
		os.Exit(cli.Main(cli.Process{
			Args: append([]string{"holdfast"}, os.Args[2:]...), In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
			Getenv: os.Getenv, Environ: os.Environ, Interrupts: interrupts,
		}))
	}
	if len(os.Args) > 1 && os.Args[1] == "be-service" {
		fmt.Println("hello from", os.Getenv("HOLDFAST_INSTANCE"))
		err := http.ListenAndServe(os.Getenv("HOLDFAST_HTTP_ADDR"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, os.Getenv("HOLDFAST_INSTANCE"))
		}))
		fmt.Println(err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
