package config

import "context"

// Value is one setting with a value for the time when there is none. Safe for concurrent use.
type Value[T any] struct {
	key      string
	fallback T
	watch    *Watch[T]
}

// NewValue follows one key, as Follow does. fallback is in force as long as nothing else is. A key
// that ValidateKey rejects is logged and reported by Changed, and leaves it at fallback.
func NewValue[T any](s *Store, key string, fallback T, decode func(value []byte) (T, error)) *Value[T] {
	return &Value[T]{key: key, fallback: fallback, watch: follow(s, key, true, func(_ string, value []byte) (T, error) {
		return decode(value)
	})}
}

// Get returns the value in force, without waiting.
func (v *Value[T]) Get() T {
	if s := v.Setting(); s.InForce {
		return s.Value
	}
	return v.fallback
}

// Setting returns what is known of the key: what is in force, and whether and why a newer document is not.
func (v *Value[T]) Setting() Setting[T] {
	set, _ := v.watch.Current()
	return set.Settings[v.key]
}

// Stop ends the watch; Get goes on to return what was in force last. It is idempotent.
func (v *Value[T]) Stop() { v.watch.Stop() }

// Changed blocks until something differs from when it returned last, which may be in force or refused. It is for one
// goroutine. The error is ctx's, or ErrClosed.
func (v *Value[T]) Changed(ctx context.Context) error {
	_, err := v.watch.Next(ctx)
	return err
}
