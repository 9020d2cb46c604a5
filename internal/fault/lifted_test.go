package fault

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestNobodyWaitsForWhatWasLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New()
		i.Set(Plan{Disk: &Disk{SlowSync: time.Hour, FailSync: true}, Calls: []Calls{{Share: 1, Delay: time.Hour, Code: "INTERNAL"}}})
		begun := time.Now()
		time.AfterFunc(time.Second, func() { i.Set(Plan{Disk: &Disk{SlowSync: time.Hour}, Calls: i.plan.Load().Calls}) })
		time.AfterFunc(2*time.Second, func() { i.Set(Plan{}) })
		code := make(chan string)
		go func() { code <- i.Call(t.Context(), "", "/a.B/C", false) }()
		if err := i.File("sync"); err != nil || time.Since(begun) != 2*time.Second {
			t.Errorf("sync: %v after %v", err, time.Since(begun))
		}
		if got := <-code; got != "" || time.Since(begun) != 2*time.Second {
			t.Errorf("call: %q after %v", got, time.Since(begun))
		}
	})
}

func TestARuleHoldsForAnotherNameOfItsAddress(t *testing.T) {
	p := overTCP(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	dial := p.inj.Dial(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, lis.Addr().String())
	})
	rule := func(s Shape) Plan { return Plan{Dial: []Link{{To: []string{lis.Addr().String()}, Shape: s}}} }
	p.inj.Set(rule(Shape{Refuse: true}))
	if _, err := dial(t.Context(), "tcp", "orders:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused: %v", err)
	}
	p.inj.Set(rule(cutOff))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := dial(ctx, "tcp", "orders:1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cut off: %v", err)
	}
}

func TestAPlanIsVoidWhenItsAgentIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		i := a.follow()
		a.accept()
		a.plan(1, to(Shape{CutOut: true}))
		for range 60 {
			if err := WriteSign(a.c); err != nil {
				t.Fatal(err)
			}
			<-time.After(SignOfLife)
		}
		if !i.plan.Load().something() {
			t.Error("the plan ends although its agent lives")
		}
		<-time.After(2 * silence)
		if i.plan.Load().something() {
			t.Error("the plan outlives an agent that says nothing")
		}
	})
}
