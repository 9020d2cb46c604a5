package lifecycle

import (
	"context"
	"errors"
)

// canceled reports whether err is nothing but the end of a context: of what was joined, each part is. A panic never is.
func canceled(err error) bool {
	switch x := err.(type) { //nolint:errorlint // one step of the tree
	case nil, *PanicError:
		return false
	case interface{ Unwrap() []error }:
		parts := x.Unwrap()
		for _, part := range parts {
			if part != nil && !canceled(part) {
				return false
			}
		}
		return len(parts) > 0
	case interface{ Unwrap() error }:
		if inner := x.Unwrap(); inner != nil {
			return canceled(inner)
		}
	}
	return errors.Is(err, context.Canceled)
}

// panics returns the panics that err has in it, also of what was joined.
func panics(err error) []*PanicError {
	switch x := err.(type) { //nolint:errorlint // one step of the tree
	case *PanicError:
		return []*PanicError{x}
	case interface{ Unwrap() []error }:
		var all []*PanicError
		for _, part := range x.Unwrap() {
			all = append(all, panics(part)...)
		}
		return all
	case interface{ Unwrap() error }:
		return panics(x.Unwrap())
	}
	return nil
}
