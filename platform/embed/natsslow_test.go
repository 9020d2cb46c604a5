package embed

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A server that reads its directory for long says so and goes on reading.
func TestNATSThatReadsForLongIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newNATSLog(slog.New(slog.NewTextHandler(&out, nil)))
		ctx, cancel := context.WithTimeout(t.Context(), 2*natsRecover+time.Second)
		defer cancel()
		if err := NewNATS(NATSConfig{}).serve(ctx, nil, log, make(chan struct{})); err != nil {
			t.Error(err)
		}
		if ctx.Err() == nil || strings.Count(out.String(), "still reads") != 2 {
			t.Errorf("%v: %s", ctx.Err(), out.String())
		}
	})
}
