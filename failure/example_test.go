package failure_test

import (
	"errors"
	"fmt"
	"net/http/httptest"

	"github.com/holdfast-go/holdfast/failure"
)

// A sentinel is recognized by code, reason and domain, in whichever process it was returned.
var ErrOutOfStock = failure.New(failure.FailedPrecondition, "out of stock").WithReason("OUT_OF_STOCK", "shop")

func Example() {
	// The server returns a copy of the sentinel that says more.
	rec := httptest.NewRecorder()
	failure.WriteProblem(rec, ErrOutOfStock.With("only 2 left").WithMetadata("left", "2"))
	fmt.Print(rec.Body)

	// The client, elsewhere, reads the answer.
	err := fmt.Errorf("order o-1: %w", failure.ReadProblem(rec.Result()))
	fmt.Println(err)
	fmt.Println(errors.Is(err, ErrOutOfStock), errors.Is(err, failure.FailedPrecondition), errors.Is(err, failure.NotFound))
	var e *failure.Error
	if errors.As(err, &e) {
		fmt.Println("left:", e.Metadata["left"])
	}
	// Output:
	// {"type":"about:blank","title":"Conflict","status":409,"detail":"only 2 left","code":"FAILED_PRECONDITION","reason":"OUT_OF_STOCK","domain":"shop","metadata":{"left":"2"}}
	// order o-1: FAILED_PRECONDITION: only 2 left
	// true true false
	// left: 2
}

func ExampleWrap() {
	cause := errors.New("dial tcp 10.0.0.7:5432: connection refused")
	err := failure.Wrap(cause, failure.Unavailable, "the catalogue is not reachable")
	fmt.Println("log: ", err)
	fmt.Println("wire:", failure.Status(err).Message())
	// Output:
	// log:  UNAVAILABLE: the catalogue is not reachable: dial tcp 10.0.0.7:5432: connection refused
	// wire: the catalogue is not reachable
}
