package admission_test

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/failure"
)

// A server of one's own, which does one thing at a time and lets nobody wait.
func ExampleController_Admit() {
	control := admission.New(admission.Config{MaxLimit: 1, Queue: -1})
	ctx := context.Background()

	ticket, err := control.Admit(ctx, admission.Request{Method: "Place"})
	fmt.Println("first:", err)

	_, err = control.Admit(ctx, admission.Request{Method: "Place"})
	fmt.Println("second:", failure.CodeOf(err), failure.From(err).Reason)

	ticket.Done(admission.Done)
	ticket, err = control.Admit(ctx, admission.Request{Method: "Place"})
	fmt.Println("third:", err)
	ticket.Done(admission.Done)
	// Output:
	// first: <nil>
	// second: RESOURCE_EXHAUSTED SHED
	// third: <nil>
}
