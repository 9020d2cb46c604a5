package idempotency_test

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/idempotency"
)

func Example() {
	ledger := idempotency.New(new(idempotency.Memory), idempotency.Config{})
	charge := func(ctx context.Context, key string, cents int) (string, error) {
		claim, err := ledger.Begin(ctx, idempotency.Key{Method: "charge", Key: key}, idempotency.FingerprintOf(fmt.Append(nil, cents)))
		if err != nil {
			return "", err
		}
		if receipt, ok := claim.Replayed(); ok {
			return string(receipt), nil
		}
		defer claim.Release(ctx) // if what follows fails
		receipt := fmt.Sprintf("charged %d cents", cents)
		fmt.Println("charging")
		_ = claim.Finish(ctx, []byte(receipt)) // if the store is away, the charge was made all the same
		return receipt, nil
	}
	for _, cents := range []int{500, 500, 700} {
		fmt.Println(charge(context.Background(), "order-17", cents))
	}
	// Output:
	// charging
	// charged 500 cents <nil>
	// charged 500 cents <nil>
	//  INVALID_ARGUMENT: the idempotency key was used for another request
}
