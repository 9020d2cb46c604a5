package kafkaqueue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestWiped: a broker that lost everything is used again, by who publishes when the topic is declared again, and by who
// receives without further ado.
func TestWiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := open(t, f)
		c.declare("t", "g")
		r := c.subscribe("t", "i", 10)
		for i := range 10 {
			c.publish("t", message("k", i))
		}
		if err := r.Ack(t.Context(), receive(t, r, 10, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
		f.wipe()
		c.again("t")
		c.publish("t", message("k", 100))
		ds := receive(t, r, 1, time.Minute)
		if len(ds) != 1 || ds[0].Message.ID != "k/100" {
			t.Fatalf("%d came", len(ds))
		}
		if err := r.Ack(t.Context(), ds); err != nil {
			t.Error(err)
		}
		f.wipe() // and nobody declares: who receives sees to it
		pause(30 * time.Second)
		c.publish("t", message("k", 200))
		if ds := receive(t, r, 1, time.Minute); len(ds) != 1 || ds[0].Message.ID != "k/200" {
			t.Errorf("%d came", len(ds))
		}
	})
}

// TestOutage: for 30 seconds nothing gets through. Who publishes gets an error by its deadline, nothing spins, and everything
// flows again.
func TestOutage(t *testing.T) {
	for name, fault := range map[string]func(*client){"Cut": func(c *client) { c.Cut() }, "Freeze": func(c *client) { c.Freeze() }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := open(t, f)
				w := c.Link.(way)
				c.declare("t", "g")
				r := c.subscribe("t", "i", 10)
				c.publish("t", message("k", 0))
				if err := r.Ack(t.Context(), receive(t, r, 1, 10*time.Second)); err != nil {
					t.Fatal(err)
				}
				fault(c)
				dials := w.net.Dials(w.addr)
				begun := time.Now()
				for i := 1; time.Since(begun) < 30*time.Second; i++ {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					asked := time.Now()
					err := errors.Join(c.Publish(ctx, "t", []*driver.Message{message("k", i)})...)
					cancel()
					if err == nil {
						t.Error("it is confirmed")
					}
					if took := time.Since(asked); took > 5*time.Second+100*time.Millisecond {
						t.Errorf("an error after %v", took)
					}
				}
				if n := w.net.Dials(w.addr) - dials; n > 700 {
					t.Errorf("%d attempts to connect in 30 seconds", n)
				}
				c.Thaw()
				c.Restore()
				begun = time.Now()
				c.publish("t", message("k", 100))
				for {
					ds := receive(t, r, 1, 30*time.Second)
					if len(ds) == 0 {
						t.Fatal("it does not come")
					}
					_ = r.Ack(t.Context(), ds) // may be lost with the session, and come again
					if ds[0].Message.ID == "k/100" {
						break
					}
				}
				if took := time.Since(begun); took > 20*time.Second {
					t.Errorf("it flows again after %v", took)
				}
			})
		})
	}
}

// TestCloseWithoutBroker: a client ends soon, whatever is with the broker.
func TestCloseWithoutBroker(t *testing.T) {
	for name, fault := range map[string]func(*client){"Cut": func(c *client) { c.Cut() }, "Freeze": func(c *client) { c.Freeze() }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := open(t, f)
				c.declare("t", "g")
				r := c.subscribe("t", "i", 10)
				c.publish("t", message("k", 0))
				ds := receive(t, r, 1, 10*time.Second)
				fault(c)
				_ = r.Ack(t.Context(), ds)
				begun := time.Now()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("it took %v", took)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := r.Receive(ctx, 1); !errors.Is(err, driver.ErrStopped) {
					t.Errorf("receive: %v", err)
				}
			})
		})
	}
}

// TestSilentBroker: whoever asks a broker that takes connections and says nothing has an error at the deadline, also who
// asks on a connection that was never answered.
func TestSilentBroker(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *client) error{
		"Declare": func(ctx context.Context, c *client) error {
			return c.Declare(ctx, driver.Topic{Name: "new", Groups: []string{"g"}})
		},
		"Subscribe": func(ctx context.Context, c *client) error {
			_, err := c.Subscribe(ctx, driver.Subscription{Topic: "new", Group: "g", Instance: "i", Window: 1, Hold: time.Second})
			return err
		},
		"PublishTo": func(ctx context.Context, c *client) error {
			return errors.Join(c.PublishTo(ctx, "new", "g", []*driver.Message{message("k", 0)})...)
		},
		"Groups": func(ctx context.Context, c *client) error { _, err := c.Groups(ctx); return err },
		"Lag":    func(ctx context.Context, c *client) error { _, err := c.Lag(ctx, "t", "g"); return err },
		"Dead":   func(ctx context.Context, c *client) error { _, err := c.Dead(ctx, "t", "g", "", 10); return err },
		"Bury":   func(ctx context.Context, c *client) error { return c.Bury(ctx, "t", "g", message("k", 0)) },
	} {
		for _, known := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/connected=%v", name, known), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake(t)
					c := open(t, f)
					if known {
						c.declare("t", "g")
					}
					c.Freeze()
					pause(40 * time.Second) // connections that were there have ended
					var wg sync.WaitGroup
					for range 20 {
						wg.Go(func() {
							ctx, cancel := context.WithTimeout(t.Context(), time.Second)
							defer cancel()
							begun := time.Now()
							if err := ask(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
								t.Errorf("%v", err)
							}
							if took := time.Since(begun); took > time.Second+10*time.Millisecond {
								t.Errorf("it took %v", took)
							}
						})
						pause(300 * time.Millisecond)
					}
					wg.Wait()
					begun := time.Now()
					if err := c.Close(); err != nil {
						t.Error(err)
					}
					if took := time.Since(begun); took > 10*time.Second {
						t.Errorf("closing took %v", took)
					}
				})
			})
		}
	}
}
