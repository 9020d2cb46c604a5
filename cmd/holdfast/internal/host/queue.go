//go:build unix

package host

import (
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

// checkQueue says what is wrong with the URL of an outside engine for messages, without connecting. The services open it
// for themselves.
func checkQueue(url string) error {
	o, err := QueueOpener(url)
	if err != nil {
		return err
	}
	if err := o.CheckURL(url); err != nil {
		return fmt.Errorf("the queue's URL %w", err)
	}
	return nil
}

// QueueOpener finds the driver for the URL of an engine for messages.
func QueueOpener(url string) (driver.Opener, error) {
	scheme, _, _ := strings.Cut(url, "://")
	known := []string{natsqueue.Scheme}
	if scheme == natsqueue.Scheme {
		return natsqueue.Opener{}, nil
	}
	for _, d := range drivers.All() {
		o, ok := d.(driver.Opener)
		if !ok {
			continue
		}
		if o.Scheme() == scheme {
			return o, nil
		}
		known = append(known, o.Scheme())
	}
	return nil, fmt.Errorf("queue: the scheme %q is unknown; known are %s", scheme, strings.Join(known, ", "))
}
