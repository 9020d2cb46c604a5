package balance

import "context"

type keyKey struct{}

// WithKey returns a context whose calls belong together: by the policy ring_hash, calls with the same key go to the same
// instance while it has room, and to the same other one when it has not. Other policies pay no heed. "" is no key.
func WithKey(ctx context.Context, key string) context.Context {
	if key == "" {
		return context.WithValue(ctx, keyKey{}, uint64(0))
	}
	return context.WithValue(ctx, keyKey{}, hash(key)|1)
}

// KeyOf returns the key of ctx for Call.Key, or 0.
func KeyOf(ctx context.Context) uint64 {
	key, _ := ctx.Value(keyKey{}).(uint64)
	return key
}
