//go:build unix

package cli_test

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast"
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
			Getenv: os.Getenv, Environ: os.Environ, Interrupts: interrupts, SelfArgs: selfArgs,
		}))
	}
	if len(os.Args) > 1 && os.Args[1] == "be-service" {
		switch what := os.Args[2:]; {
		case slices.Contains(what, "counter"):
			beCounter()
		case slices.Contains(what, "kitchen"):
			beKitchen()
		case slices.Contains(what, "bill"):
			beBill()
		default:
			beService(what)
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// beService answers HTTP requests with the name of the instance. An "announced" one is a Holdfast service; a "sick" one
// never becomes ready.
func beService(how []string) {
	id := os.Getenv("HOLDFAST_INSTANCE")
	fmt.Println("hello from", id)
	if url := os.Getenv("HOLDFAST_QUEUE"); url != "" {
		fmt.Println("messages go to", url)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/load" { // what an autoscaler goes by: a file that the test writes
			b, _ := os.ReadFile(os.Getenv("LOAD"))
			_, _ = w.Write(b)
			return
		}
		if slices.Contains(how, "sick") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, id)
	})
	if slices.Contains(how, "announced") {
		svc := holdfast.New("web")
		svc.Handle("/", handler)
		holdfast.Main(svc)
	}
	fmt.Println(http.ListenAndServe(os.Getenv("HOLDFAST_HTTP_ADDR"), handler))
}
