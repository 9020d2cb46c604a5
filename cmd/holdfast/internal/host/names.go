//go:build unix

package host

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// namesEvery is how often it is looked for processes that have not been asked for their names yet, and nameTimeout how long
	// one may take to answer.
	namesEvery  = 2 * time.Second
	nameTimeout = time.Second
	// maxName bounds what is read of an answer.
	maxName = 1 << 20
	// nameTries is how often a process is asked that does not answer.
	nameTries = 5
)

// names finds instances that register under another name than that of their service, where nobody looks for them.
type names struct {
	ask   func(ctx context.Context, admin string) (name string, err error)
	asked map[string]asked  // by instance
	told  map[string]string // by instance: the name that people were told of
}

// asked is how far a process is with its name.
type asked struct{ pid, tries int }

// look asks the processes that are new, and returns what is to be told, once of each instance and name.
func (n *names) look(ctx context.Context, s said, serviceOf map[string]string) []control.Event {
	gone := func(id string) bool { _, ok := serviceOf[id]; return !ok }
	maps.DeleteFunc(n.asked, func(id string, _ asked) bool { return gone(id) })
	maps.DeleteFunc(n.told, func(id, _ string) bool { return gone(id) })
	var out []control.Event
	for _, id := range slices.Sorted(maps.Keys(s)) {
		service, state := serviceOf[id], s[id]
		a := n.asked[id]
		if a.pid != state.PID {
			a = asked{pid: state.PID}
		}
		if service == "" || state.Admin == "" || a.tries >= nameTries {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, nameTimeout)
		name, err := n.ask(asking, state.Admin)
		cancel()
		if a.tries++; err == nil {
			a.tries = nameTries
		}
		n.asked[id] = a
		if err != nil || name == "" || name == cmp.Or(n.told[id], service) {
			continue
		}
		if n.told[id] = name; name == service {
			continue // it was another program
		}
		out = append(out, control.Event{
			Time: time.Now(), Service: service, Instance: id,
			Message: fmt.Sprintf("%s registers as %.128q: nobody finds it as %s", id, name, service),
		})
	}
	return out
}

// tellNames looks for new processes until ctx ends.
func (h *Host) tellNames(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: h.dial()}}
	n := &names{
		asked: make(map[string]asked), told: make(map[string]string),
		ask: func(ctx context.Context, admin string) (string, error) { return askName(ctx, client, admin) },
	}
	tick := time.NewTicker(namesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, e := range n.look(ctx, h.said(), h.serviceOf()) {
			h.feed.publish(e)
		}
	}
}

// askName asks a process for the name that it was made with, which it registers as.
func askName(ctx context.Context, client *http.Client, admin string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/buildinfo", http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", admin, resp.Status)
	}
	var info struct {
		Service string `json:"service"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxName)).Decode(&info); err != nil {
		return "", err
	}
	return info.Service, nil
}
