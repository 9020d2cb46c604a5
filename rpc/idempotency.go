package rpc

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	keyHeader    = "idempotency-key"
	maxKeyLength = 256
)

var errKey = failure.New(failure.InvalidArgument, "idempotency key: not 1 to %d printable ASCII characters", maxKeyLength)

type keyContext struct{}

// WithIdempotencyKey returns a context whose calls carry key to the server, in the metadata "idempotency-key", and are
// safe to try again: the server is trusted to do things once per key. "" is no key. A key is 1 to 256 printable ASCII
// characters; a call with any other is answered INVALID_ARGUMENT without being sent.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	if key == "" {
		return ctx
	}
	ctx = metadata.AppendToOutgoingContext(ctx, keyHeader, key)
	return context.WithValue(ctx, keyContext{}, key)
}

// IdempotencyKey returns the key that the caller sent with the request being served with ctx. It is false if there is
// none, or none that WithIdempotencyKey would send.
func IdempotencyKey(ctx context.Context) (string, bool) {
	values := metadata.ValueFromIncomingContext(ctx, keyHeader)
	if len(values) != 1 || !validKey(values[0]) {
		return "", false
	}
	return values[0], true
}

func validKey(key string) bool {
	if key == "" || len(key) > maxKeyLength {
		return false
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}
