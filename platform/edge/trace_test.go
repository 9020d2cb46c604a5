package edge

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/holdfast-go/holdfast/resilience"
)

// keeper keeps everything, and has everything below kept.
type keeper struct {
	mu    sync.Mutex
	along []resilience.Along
}

func (k *keeper) BeginServe(ctx context.Context, info resilience.ServeInfo) (context.Context, resilience.ServeObserver) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.along = append(k.along, info.Along)
	return ctx, k
}

func (*keeper) BeginCall(context.Context, resilience.CallInfo) resilience.CallObserver { return nil }
func (*keeper) Admit(resilience.AdmitInfo)                                             {}
func (*keeper) Keep(resilience.ServeEnd) string                                        { return "error" }
func (*keeper) End(resilience.ServeEnd)                                                {}

// A stranger neither chooses what the services behind keep, nor learns it.
func TestTraceOfAStrangerIsNotBelieved(t *testing.T) {
	const parent = "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"
	for _, tt := range []struct {
		cfg        Config
		want, keep string
	}{
		{Config{}, "||", ""},
		{Config{TrustTrace: true}, parent + "|a=b|c=d", ""},
		{Config{Observer: new(keeper)}, "||", ""},
		{Config{Observer: new(keeper), TrustTrace: true}, parent + "|a=b|c=d", "error"},
	} {
		s := newSystem(t, tt.cfg)
		s.serve("a", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(resilience.HeaderKeep, "slow")
			h := r.Header
			_, _ = io.WriteString(w, h.Get("traceparent")+"|"+h.Get("tracestate")+"|"+h.Get("baggage"))
		})
		a := s.do("GET", "/", "", "traceparent", parent, "tracestate", "a=b", "baggage", "c=d")
		if a.body != tt.want {
			t.Errorf("trust %v: the instance saw %q, want %q", tt.cfg.TrustTrace, a.body, tt.want)
		}
		if got := a.Header.Get(resilience.HeaderKeep); got != tt.keep {
			t.Errorf("trust %v: the user saw that it is kept: %q, want %q", tt.cfg.TrustTrace, got, tt.keep)
		}
		if k, ok := tt.cfg.Observer.(*keeper); ok {
			k.mu.Lock()
			if along := k.along[len(k.along)-1]; (along != resilience.Along{}) != tt.cfg.TrustTrace {
				t.Errorf("trust %v: the edge took %v", tt.cfg.TrustTrace, along)
			}
			k.mu.Unlock()
		}
	}
}
