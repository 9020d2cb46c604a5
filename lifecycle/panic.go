package lifecycle

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// PanicError is a panic that was contained.
type PanicError struct {
	// Value is what panic was called with.
	Value any
	// Stack is the stack of the goroutine at the panic, as runtime/debug.Stack prints it.
	Stack []byte
}

// Error is "panic: value", without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// LogValue is a group of the panic's value and its stack.
func (e *PanicError) LogValue() slog.Value {
	return slog.GroupValue(slog.String("panic", fmt.Sprint(e.Value)), slog.String("stack", string(e.Stack)))
}

// Recover calls fn and returns its error, or a *PanicError if it panics. A panic in a goroutine that fn started is
// beyond it, as is runtime.Goexit.
func Recover(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn()
}
