package natsqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

func text(n int) *driver.Message {
	return &driver.Message{ID: fmt.Sprint("id-", n), Source: "s", Key: fmt.Sprint("k", n%7), Data: []byte(fmt.Sprint(n))}
}

// receive takes n deliveries and settles them.
func receive(t *testing.T, r driver.Receiver, n int) (out []*driver.Delivery) {
	t.Helper()
	ctx := soon(t)
	for len(out) < n {
		ds, err := r.Receive(ctx, n-len(out))
		check(t, err)
		check(t, r.Ack(ctx, ds))
		out = append(out, ds...)
	}
	return out
}

// A topic that is full of what no group has settled refuses more; what all have settled makes room.
func TestAFullTopicRefuses(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, func(c *natsqueue.Config) { c.MaxBytes = 1 << 20 }, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"plain"}}))
	ordered, err := e.Subscribe(ctx, driver.Subscription{Topic: "t", Group: "ordered", Instance: "one", Ordered: true, Window: 50, Hold: 10 * time.Second})
	check(t, err)
	large := func(n int) *driver.Message {
		m := text(n)
		m.Data = make([]byte, 100<<10)
		return m
	}
	n := 0
	for ; n < 100; n++ {
		if errs := e.Publish(ctx, "t", []*driver.Message{large(n)}); errs != nil {
			if !errors.Is(errs[0], driver.ErrFull) {
				t.Fatal(errs[0])
			}
			break
		}
	}
	if n < 5 || n == 100 {
		t.Fatalf("%d messages found room", n)
	}
	receive(t, ordered, n)
	if errs := e.Publish(ctx, "t", []*driver.Message{large(n)}); errs == nil || !errors.Is(errs[0], driver.ErrFull) {
		t.Fatalf("what one group has not settled was thrown away: %v", errs)
	}
	plain, err := e.Subscribe(ctx, driver.Subscription{Topic: "t", Group: "plain", Instance: "one", Window: 50, Hold: time.Minute})
	check(t, err)
	receive(t, plain, n)
	for range 20 {
		if errs := e.Publish(ctx, "t", []*driver.Message{large(n)}); errs != nil {
			t.Fatalf("message %d: %v", n, errs[0])
		}
		n++
		receive(t, plain, 1)
		receive(t, ordered, 1)
	}
}

// A group that becomes ordered, or is not any more, goes on where it was.
func TestAGroupBecomesOrdered(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}}))
	n := 0
	publish := func(k int) {
		t.Helper()
		for range k {
			if errs := e.Publish(ctx, "t", []*driver.Message{text(n)}); errs != nil {
				t.Fatal(errs[0])
			}
			n++
		}
	}
	seen := make(map[string]bool)
	for i, ordered := range []bool{false, true, false, true} {
		publish(20)
		r, err := e.Subscribe(ctx, driver.Subscription{Topic: "t", Group: "g", Instance: fmt.Sprint(i), Ordered: ordered, Window: 50, Hold: 10 * time.Second})
		check(t, err)
		for _, d := range receive(t, r, 20) {
			if seen[d.Message.ID] {
				t.Errorf("%s came again, ordered %v", d.Message.ID, ordered)
			}
			seen[d.Message.ID] = true
		}
		check(t, r.Close())
		groups, err := e.Groups(ctx)
		check(t, err)
		if len(groups) != 1 || groups[0] != (driver.Group{Topic: "t", Group: "g"}) {
			t.Errorf("groups are %v", groups)
		}
		if lag, err := e.Lag(ctx, "t", "g"); err != nil || lag != (driver.Lag{}) {
			t.Errorf("lag is %+v, %v", lag, err)
		}
	}
}

// A stream of that name that is somebody else's is left alone.
func TestSomebodyElsesStream(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, a.Declare(ctx, driver.Topic{Name: "a.b"}))
	if err := open(t, nil, s.cfg.ClientAddr).Declare(ctx, driver.Topic{Name: "a=b"}); !errors.Is(err, driver.ErrRefused) {
		t.Errorf("the stream of a.b was taken for one of a=b: %v", err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"nats://127.0.0.1:4222":                             "",
		"nats://127.0.0.1:1,[::1]:2/shop?token-file=/a%20b": "",
		"nats://10.0.0.1:1?tls=true":                        "",
		"nats://10.0.0.1:1?ca-file=/x&replicas=5":           "",
		"kafka://127.0.0.1:1":                               "does not begin with nats://",
		"nats://u:secret@127.0.0.1:1":                       "has credentials in it",
		"nats://127.0.0.1:1?token=secret":                   "has a secret in it",
		"nats://127.0.0.1":                                  "not HOST:PORT",
		"nats://127.0.0.1:0":                                "not HOST:PORT",
		"nats://127.0.0.1:1/a/b":                            "has a prefix that is not",
		"nats://127.0.0.1:1?x=1":                            "has an option other than",
		"nats://127.0.0.1:1?tls=1&tls=0":                    "has the option tls twice",
		"nats://127.0.0.1:1?tls=maybe":                      "neither true nor false",
		"nats://127.0.0.1:1?replicas=9":                     "is not 1 to 5",
		"nats://127.0.0.1:1?%zz":                            "cannot be read",
	} {
		err := natsqueue.Opener{}.CheckURL(url)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", url, err)
		case err != nil && strings.Contains(err.Error(), "secret@"):
			t.Errorf("%s: the secret is in %v", url, err)
		}
	}
	if _, err := (natsqueue.Opener{}).OpenQueue("nats://10.0.0.1:1", driver.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "not encrypted") {
		t.Errorf("plaintext beyond loopback: %v", err)
	}
	e, err := natsqueue.Opener{}.OpenQueue("nats://10.0.0.1:1", driver.OpenOptions{Insecure: true})
	check(t, err)
	check(t, e.Close())
	if err := e.Declare(context.Background(), driver.Topic{Name: "t"}); err == nil {
		t.Error("declared after Close")
	}
}

func FuzzURL(f *testing.F) {
	f.Add("nats://127.0.0.1:4222,[::1]:1/shop?token-file=/t&tls=true&replicas=3")
	f.Add("nats://u:p@h:1?token=x")
	f.Fuzz(func(t *testing.T, url string) {
		c, err := natsqueue.Parse(url)
		if err != nil {
			return
		}
		c.Insecure = true
		if err := c.Validate(); err != nil {
			t.Errorf("%q was read and is wrong: %v", url, err)
		}
	})
}

func Example() {
	e, err := natsqueue.Open(natsqueue.Config{Servers: []string{"127.0.0.1:4222"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer e.Close()
	fmt.Println(e.Capabilities().Ordered)
	// Output: true
}
