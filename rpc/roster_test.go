package rpc_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/rpc"
)

func TestInstancesAsPeopleSeeThem(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) {
				return "", status.Error(codes.Unavailable, "out of order")
			}
		})
		b, c := w.start("b"), w.start("c")
		w.start("d")
		client := w.dial()
		connected()
		steadily(t.Context(), client, look, 100)
		states := func() (out []string) {
			for _, i := range client.Instances() {
				out = append(out, i.ID+" "+i.State)
			}
			return out
		}
		if got := states(); !slices.Equal(got, []string{"a ejected", "b ready", "c ready", "d ready"}) {
			t.Errorf("got %q", got)
		}
		b.kill()
		if err := c.said.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(time.Second)
		all := client.Instances()
		if got := states(); !slices.Equal(got, []string{"a ejected", "b unreachable", "c draining", "d ready"}) {
			t.Errorf("got %q", got)
		}
		if i := all[0]; i.Addr == "" || !strings.Contains(i.Why, "in a row") {
			t.Errorf("%+v", i)
		}
		if i := all[1]; i.Addr != b.addr || i.Why == "" || i.Why == "connecting" || i.State != balance.StateUnreachable {
			t.Errorf("%+v", i)
		}
	})
}
