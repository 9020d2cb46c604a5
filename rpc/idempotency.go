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

// WithIdempotencyKey returns a context whose calls, by this package's clients, carry key to the server in the metadata
// "idempotency-key", and are safe to try again: the server is trusted to do things once per key. "" is no key. A key is
// 1 to 256 printable ASCII characters; a call with any other is answered INVALID_ARGUMENT without being sent.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	if key == "" {
		return ctx
	}
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

// sendKey returns ctx with the idempotency key in it, if there is one, where it is sent.
func sendKey(ctx context.Context) (_ context.Context, keyed bool, _ error) {
	key, keyed := ctx.Value(keyContext{}).(string)
	if !keyed {
		return ctx, false, nil
	}
	if !validKey(key) {
		return ctx, true, errKey
	}
	// Here and not in WithIdempotencyKey, so that what says "safe" and what is sent cannot come apart. It replaces a key
	// that came with metadata which somebody passes on: of two keys the server would take neither.
	if len(metadata.ValueFromOutgoingContext(ctx, keyHeader)) == 0 {
		return metadata.AppendToOutgoingContext(ctx, keyHeader, key), true, nil
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	md.Set(keyHeader, key)
	return metadata.NewOutgoingContext(ctx, md), true, nil
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
