//go:build unix

package host

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// outsideEvery is how often a registry that is not the platform's own is asked whether it answers, and outsideTimeout how
	// long it may take.
	outsideEvery   = 5 * time.Second
	outsideTimeout = 3 * time.Second
	// maxTrouble bounds what is said of an error, in bytes.
	maxTrouble = 300
)

// outside watches a registry that is not the platform's own: of its members nobody else says how they are. A nil outside
// knows of no trouble.
type outside struct {
	name    string // for people, without what could be a secret
	ask     func(ctx context.Context) error
	publish func(control.Event)

	mu  sync.Mutex
	why string // why it does not answer, "" while it does
}

// newOutside watches the registry of the system file; nil if the platform has its own.
func (h *Host) newOutside() *outside {
	if h.sys.Registry == "" {
		return nil
	}
	scheme, _, _ := strings.Cut(h.sys.Registry, ":")
	return &outside{
		name: scheme + "://" + strings.Join(hostsOf(h.sys.Registry), ","), publish: h.feed.publish,
		ask: func(ctx context.Context) error {
			_, err := h.driver.List(ctx, h.sys.Services[0].Name)
			return err
		},
	}
}

// run asks until ctx ends.
func (o *outside) run(ctx context.Context) error {
	tick := time.NewTicker(outsideEvery)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, outsideTimeout)
		err := o.ask(asking)
		if asking.Err() != nil && err != nil {
			err = fmt.Errorf("not within %s", Seconds(outsideTimeout))
		}
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		o.heard(err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// heard takes what came of a question, and tells of it if that is new.
func (o *outside) heard(err error) {
	why := ""
	if err != nil {
		why = brief(err)
		why = strings.ToValidUTF8(why[:min(len(why), maxTrouble)], "")
	}
	o.mu.Lock()
	was := o.why
	o.why = why
	o.mu.Unlock()
	switch {
	case was == "" && why != "":
		o.publish(control.Event{Time: time.Now(), Message: o.trouble()})
	case was != "" && why == "":
		o.publish(control.Event{Time: time.Now(), Message: "registry " + o.name + " answers again"})
	}
}

// trouble says that the registry does not answer, and why; "" if it does.
func (o *outside) trouble() string {
	if o == nil {
		return ""
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.why == "" {
		return ""
	}
	return "registry " + o.name + " does not answer: " + o.why
}
