package check_test

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
)

// A check of one's own, in Go: what customers were promised, against what is there.
func Example() {
	stock := 7 // of 10, as the shop has it
	sold := check.Invariant{Name: "stock adds up", Func: &check.Func{
		Judge: func(_ context.Context, w *check.World) check.Verdict {
			acknowledged := 0
			for _, s := range w.Record.Samples() {
				if s.Call == "buy" && s.Outcome == load.OK {
					acknowledged++
				}
			}
			v := check.Verdict{Answer: check.Holds, Says: fmt.Sprintf("%d sold, %d left of 10", acknowledged, stock)}
			if acknowledged+stock != 10 {
				v.Answer, v.Findings = check.Broken, []string{"10 were there"}
			}
			return v
		},
	}}
	c, err := check.New(sold)
	if err != nil {
		fmt.Println(err)
		return
	}
	w := &check.World{Caller: load.NewCaller(load.Target{}), Record: new(load.Recorder)}
	for range 4 {
		w.Record.Add(load.Sample{Call: "buy", Outcome: load.OK})
	}
	v := c.Judge(context.Background(), w)
	fmt.Println(v.Name, v.Answer)
	fmt.Println(v.Says)
	// Output:
	// stock adds up broken
	// 4 sold, 7 left of 10
}
