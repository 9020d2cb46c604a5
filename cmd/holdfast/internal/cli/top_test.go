//go:build unix

package cli

import (
	"strings"
	"testing"
	"time"
)

// brittle is a terminal on which drawing fails as badly as it can.
type brittle struct{ written strings.Builder }

func (b *brittle) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "\x1b[H") {
		panic("drawn")
	}
	return b.written.Write(p)
}

// Whatever happens in it, the terminal is given back: nobody could type in it otherwise.
func TestTopGivesTheTerminalBackWhenItPanics(t *testing.T) {
	out := &brittle{}
	a := &app{Process: Process{Out: out, In: strings.NewReader("")}}
	v := &topView{sort: "name"}
	v.update(topSample(time.Now(), 0))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("nothing was drawn")
			}
		}()
		_ = a.showTop(t.Context(), v, nil, nil, nil)
	}()
	if got := out.written.String(); !strings.HasSuffix(got, "\x1b[?25h\x1b[?1049l") {
		t.Errorf("written %q", got)
	}
}
