package report_test

import (
	"fmt"
	"os"
	"time"

	"github.com/holdfast-go/holdfast/drill/report"
)

func Example() {
	r := &report.Report{
		System: "shop", Drill: "kill-each", Seed: 7, Command: "holdfast drill --seed 7 examples/shop kill-each", Length: 40 * time.Second,
		Figures:      report.Figures{Calls: 4000, OK: 3999, Failed: 1, Success: 0.99975},
		Expectations: []report.Expectation{{Name: "success", Goal: "at least 99.99 %", Value: "99.975 %"}},
		Faults:       []report.Fault{{Kind: "kill", What: "kill -9 orders-1", Begun: 5 * time.Second, Failed: 1, Mask: 80 * time.Millisecond}},
	}
	if err := report.Terminal(os.Stdout, r, report.Screen{Width: 72}); err != nil {
		fmt.Println(err)
	}
	fmt.Println("exit code", r.Verdict().ExitCode())
	// Output:
	//
	//  USERS NOTICED   shop: kill-each
	// 4,000 calls were made in 40 s while one thing was broken on purpose. 1
	// failed.
	//
	// ✗ success  at least 99.99 %  99.975 %
	//
	// broken on purpose                             failed  masked after
	//   5.0 s  kill -9 orders-1                          1  80 ms
	//
	// again: holdfast drill --seed 7 examples/shop kill-each
	// exit code 1
}
