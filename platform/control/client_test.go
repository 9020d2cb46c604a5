package control_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

func TestClientSeesWhatTheSystemSays(t *testing.T) {
	f := &fakeSystem{}
	c, _ := serve(t, f)
	info, err := c.System(t.Context())
	if err != nil || info.System != "shop" || len(info.Services) != 3 || !info.Since.Equal(epoch) {
		t.Errorf("System = %+v, %v", info, err)
	}
	instances, err := c.Instances(t.Context())
	if err != nil || len(instances) != 5 || instances[0].ID != "control-1" || instances[4].PID != 105 {
		t.Errorf("Instances = %+v, %v", instances, err)
	}
}

func TestInstancesOf(t *testing.T) {
	c, _ := serve(t, &fakeSystem{})
	for target, want := range map[string]string{"orders": "orders-1 orders-2", "orders-2": "orders-2", "mail": "", "control": "control-1 control-2"} {
		instances, err := c.InstancesOf(t.Context(), target)
		var ids []string
		for _, i := range instances {
			ids = append(ids, i.ID)
		}
		if err != nil || strings.Join(ids, " ") != want {
			t.Errorf("InstancesOf(%s) = %v, %v; want %s", target, ids, err, want)
		}
	}
	if _, err := c.InstancesOf(t.Context(), "a b&c"); failure.CodeOf(err) != failure.NotFound || !strings.Contains(err.Error(), `"a b&c"`) {
		t.Errorf("error = %v", err)
	}
}

func TestTargets(t *testing.T) {
	f := &fakeSystem{gone: map[string]bool{"control-2": true}}
	c, _ := serve(t, f)
	kill := func(target string, all bool) func() ([]string, error) {
		return func() ([]string, error) { return c.Kill(t.Context(), target, all) }
	}
	freeze := func(target string, all bool) func() ([]string, error) {
		return func() ([]string, error) { return c.Freeze(t.Context(), target, all) }
	}
	thaw := func(target string) func() ([]string, error) {
		return func() ([]string, error) { return c.Thaw(t.Context(), target) }
	}
	restart := func(target string) func() ([]string, error) {
		return func() ([]string, error) { return c.Restart(t.Context(), target) }
	}
	for _, tc := range []struct {
		name    string
		do      func() ([]string, error)
		ids     []string
		calls   []string
		code    failure.Code
		message string
	}{
		{"an instance", kill("orders-2", false), []string{"orders-2"}, []string{"kill orders-2"}, 0, ""},
		{"a service of one", kill("catalog", false), []string{"catalog-1"}, []string{"kill catalog-1"}, 0, ""},
		{
			"a service of several", kill("orders", false), nil, nil, failure.InvalidArgument,
			`orders has 2 instances: orders-1, orders-2; name one of them, or set "all"`,
		},
		{"a service of several, meant", freeze("orders", true), []string{"orders-1", "orders-2"}, []string{"freeze orders-1", "freeze orders-2"}, 0, ""},
		{"freeze is as careful", freeze("control", false), nil, nil, failure.InvalidArgument, "control has 2 instances"},
		{"one that is down does not spoil it", kill("control", true), []string{"control-1"}, []string{"kill control-1"}, 0, ""},
		{"one that is down", kill("control-2", false), nil, nil, failure.FailedPrecondition, "control-2 has no process"},
		{"thaw takes a service whole, what is frozen of it", thaw("orders"), []string{"orders-2"}, []string{"thaw orders-2"}, 0, ""},
		{"thaw of what is not frozen", thaw("orders-1"), []string{}, nil, 0, ""},
		{"restart takes a service whole", restart("orders"), []string{"orders-1", "orders-2"}, []string{"restart orders orders-1 orders-2"}, 0, ""},
		{"restart of one", restart("orders-1"), []string{"orders-1"}, []string{"restart orders orders-1"}, 0, ""},
		{"a service scaled to nothing", restart("mail"), nil, nil, failure.FailedPrecondition, "mail has no instances"},
		{
			"a slip", kill("ordres", false), nil, nil, failure.NotFound,
			`no service "ordres"; did you mean orders? services: catalog, orders, mail, control`,
		},
		{"no idea", kill("frontend", false), nil, nil, failure.NotFound, `no service "frontend"; services: catalog, orders, mail, control`},
		{"no such number", kill("orders-9", false), nil, nil, failure.NotFound, `no instance "orders-9"; orders has orders-1, orders-2`},
		{"nothing", kill("", false), nil, nil, failure.InvalidArgument, "target is missing"},
		{"too much", kill(strings.Repeat("x", 200), false), nil, nil, failure.InvalidArgument, "longer than 128 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ids, err := tc.do()
			equal(t, "instances", ids, tc.ids)
			equal(t, "calls", f.called(), tc.calls)
			if failure.CodeOf(err) != tc.code || tc.code != 0 && !strings.Contains(failure.From(err).Message, tc.message) {
				t.Errorf("error = %v, want %v %q", err, tc.code, tc.message)
			}
		})
	}
}

func TestScale(t *testing.T) {
	f := &fakeSystem{}
	c, _ := serve(t, f)
	if err := c.Scale(t.Context(), "orders", 3); err != nil {
		t.Error(err)
	}
	if err := c.Scale(t.Context(), "mail", 0); err != nil {
		t.Error(err)
	}
	if n, err := c.Autoscale(t.Context(), "orders"); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	equal(t, "calls", f.called(), []string{"scale orders 3", "scale mail 0", "autoscale orders"})
	if _, err := c.Autoscale(t.Context(), "mail"); failure.CodeOf(err) != failure.FailedPrecondition {
		t.Errorf("autoscale of what has none: %v", err)
	}
	if _, err := c.Autoscale(t.Context(), "control"); failure.CodeOf(err) != failure.InvalidArgument {
		t.Errorf("autoscale of control members: %v", err)
	}
	for name, call := range map[string]error{
		"no service \"oders\"; did you mean orders?": c.Scale(t.Context(), "oders", 1),
		"no service \"orders-1\"":                    c.Scale(t.Context(), "orders-1", 1),
		"replicas must be from 0 to":                 c.Scale(t.Context(), "orders", -1),
		"set in the system file":                     c.Scale(t.Context(), "control", 5),
	} {
		if call == nil || !strings.Contains(call.Error(), name) {
			t.Errorf("error = %v, want %q", call, name)
		}
	}
	equal(t, "calls", f.called(), nil)
}

func TestDown(t *testing.T) {
	f := &fakeSystem{}
	c, _ := serve(t, f)
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "calls", f.called(), []string{"down "})
}

func TestLeavingARestartEndsItsContext(t *testing.T) {
	f := &fakeSystem{block: make(chan struct{})}
	c, _ := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-f.block
		cancel()
	}()
	if _, err := c.Restart(ctx, "orders"); !errors.Is(err, context.Canceled) {
		t.Errorf("Restart = %v, want canceled", err)
	}
	// The server's Run, in cleanup, waits for the handler: a context that did not end would hang the test.
}

func TestNobodyListens(t *testing.T) {
	addr := freeAddr(t)
	c := control.NewClient(addr)
	_, err := c.System(t.Context())
	if !errors.Is(err, control.ErrNotRunning) || err.Error() != "no system is running at "+addr {
		t.Errorf("error = %v", err)
	}
}

func TestSomebodyElseListens(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	for name, addr := range map[string]string{
		"a web server":       web.Listener.Addr().String(),
		"something not HTTP": garbageServer(t, "220 mail.example.com ESMTP\r\n"),
	} {
		c := control.NewClient(addr)
		_, err := c.Instances(t.Context())
		if !errors.Is(err, control.ErrNotControl) {
			t.Errorf("%s: error = %v, want ErrNotControl", name, err)
		}
		c.Close()
	}
}

// garbageServer says greeting to whoever connects and has said something, and hangs up.
func garbageServer(t *testing.T, greeting string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = conn.Write([]byte(greeting))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}
