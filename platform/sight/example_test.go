package sight_test

import (
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

func ExampleExplain() {
	e := sight.Explain(control.Trace{
		TraceSummary: control.TraceSummary{ID: "5b8efff798038103d269b633813fc60c"},
		Tree: []control.Span{{
			ID: "1", Name: "shop.v1.Orders/Place", Service: "gateway", Instance: "gateway-1", Kind: control.SpanInternal,
			Code: "UNAVAILABLE", Error: "orders fails too often to be called now", Duration: 40 * time.Microsecond,
			Attributes: map[string]any{"holdfast.call": true, "server.address": "orders", "holdfast.call.refused_by": "breaker"},
		}},
	}, sight.Context{Lang: "en"})
	fmt.Println(e.Verdict)
	fmt.Println(e.Advice[0])
	// Output:
	// gateway-1 did not send the call: its breaker for orders is open, since calls to it fail too often. The way there: gateway → orders.
	// Look at why orders fails; the breaker closes by itself when trial calls go well.
}
