package kafkaqueue

import "context"

// maxAsking is how many questions to brokers are under way at a time.
const maxAsking = 8

// ask calls f, a question to brokers, and returns when ctx ends even if f does not: the client asks one question after the
// other on a connection that was not answered yet, and waits for that one as long as a connection may take, whatever
// becomes of ctx. What was given up ends when the connection does.
func ask[T any](ctx context.Context, d *Driver, f func(ctx context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	select {
	case d.asking <- struct{}{}:
	case <-d.life.Done():
		return none, errClosed
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if d.life.Err() != nil {
		<-d.asking
		return none, errClosed
	}
	got := make(chan answer, 1)
	go func() {
		defer func() { <-d.asking }()
		v, err := f(ctx)
		got <- answer{v, err}
	}()
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// asked waits for the questions that are under way. The driver's life has ended, so that there are no more.
func (d *Driver) asked() {
	for range maxAsking {
		d.asking <- struct{}{}
	}
	for range maxAsking {
		<-d.asking
	}
}
