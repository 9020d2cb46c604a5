package policy_test

import (
	"fmt"

	"github.com/holdfast-go/holdfast/policy"
)

// Everything that is wrong is reported at once.
func ExampleParse() {
	_, err := policy.Parse("orders.yaml", []byte("calls:\n  timeout: 2\n  balanc: {}\n"))
	fmt.Println(err)
	// Output:
	// orders.yaml:2:12: timeout: want a duration such as 250ms or 5s, got the number 2; write the unit, such as 2s or 2ms
	// orders.yaml:3:3: unknown field balanc; did you mean balance?
}

// A client and a server of one's own look into a Live for each call.
func ExampleLive() {
	live := policy.NewLive(nil)
	orders, err := policy.Parse("orders", []byte("calls: {timeout: 2s, hedge: off}"))
	if err != nil {
		fmt.Println(err)
		return
	}
	live.Set("orders", orders)
	p, _ := live.Service("orders")
	fmt.Print(string(policy.Marshal(*p)))
	// Output:
	// calls:
	//   timeout: 2s
	//   hedge: off
}
