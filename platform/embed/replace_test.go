package embed_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/embed"
)

// Without the others nothing is deleted.
func TestReplaceWithoutTheOthers(t *testing.T) {
	cfg := single(t, t.TempDir())
	kept := filepath.Join(cfg.DataDir, "kept")
	check(t, os.WriteFile(kept, nil, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := embed.Replace(ctx, cfg, addresses(t, 1)); err == nil {
		t.Error("done")
	}
	if err := embed.Replace(ctx, cfg, nil); err == nil {
		t.Error("done, by nobody")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}
