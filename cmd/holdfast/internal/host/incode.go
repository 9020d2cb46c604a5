//go:build unix

package host

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	inCodeTimeout = 2 * time.Second
	maxInCode     = 1 << 20 // bytes of one process's settings
	askAtOnce     = 8
)

// inCode are the values that programs set in their code, by service and key.
type inCode map[string]map[string]string

// policiesInCode asks one process of each service what its program says of the services that it calls, and of itself. missing says who
// did not answer.
func (h *Host) policiesInCode(ctx context.Context) (found inCode, missing string) {
	ctx, cancel := context.WithTimeout(ctx, inCodeTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: h.dial()}}
	admins := make(map[string][2]string) // by service: an instance, and where it answers
	conditions := h.said().conditions()
	for _, i := range h.Instances() {
		if admin := conditions[i.ID].Admin; admin != "" && admins[i.Service][0] == "" && i.State == "ready" {
			admins[i.Service] = [2]string{i.ID, admin}
		}
	}
	var mu sync.Mutex
	said := make(map[string]inCode)
	var silent []string
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for service, admin := range admins {
		group.Go(func() error {
			values, err := askInCode(ctx, client, admin[1])
			mu.Lock()
			defer mu.Unlock()
			if said[service] = values; err != nil {
				silent = append(silent, admin[0])
			}
			return nil
		})
	}
	_ = group.Wait() // it has no errors
	if len(silent) > 0 {
		slices.Sort(silent)
		missing = fmt.Sprintf("what the code of %s says is not known now", strings.Join(silent, ", "))
	}
	var order []string
	for _, s := range h.sys.Services {
		order = append(order, s.Name)
	}
	return together(order, said), missing
}

// askInCode asks one process.
func askInCode(ctx context.Context, client *http.Client, admin string) (inCode, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/settings", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", admin, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxInCode))
	if err != nil {
		return nil, err
	}
	return parseInCode(b)
}

// parseInCode takes the values that come from code out of what a process says of its settings.
func parseInCode(b []byte) (inCode, error) {
	var settings struct {
		Policies map[string][]struct {
			Key, Value, Source, Otherwise string
		} `json:"policies"`
	}
	if err := json.Unmarshal(b, &settings); err != nil {
		return nil, err
	}
	out := make(inCode)
	for service, values := range settings.Policies {
		for _, v := range values {
			if v.Source == control.SourceCode && v.Key != "" && v.Value != "" {
				if out[service] == nil {
					out[service] = make(map[string]string)
				}
				out[service][v.Key] = v.Value
			}
		}
	}
	return out, nil
}

// together is what all say: of how a service serves its own program has the word, and of how it is called the first of its
// callers, in the order of the system file, that says something.
func together(order []string, said map[string]inCode) inCode {
	out := make(inCode)
	for _, service := range order {
		out[service] = make(map[string]string)
		for _, by := range order {
			for key, value := range said[by][service] {
				if strings.HasPrefix(key, "serves") != (by == service) {
					continue
				}
				out[service][key] = cmp.Or(out[service][key], value)
			}
		}
	}
	return out
}

// underneath puts what code says below the other layers of a policy.
func underneath(values []control.PolicyValue, code map[string]string) []control.PolicyValue {
	there := make(map[string]bool)
	out := make([]control.PolicyValue, 0, len(values))
	for _, v := range values {
		there[v.Key] = true
		said, ok := code[v.Key]
		switch {
		case ok && v.Source == control.SourceDefault:
			v.Value, v.Source, v.Otherwise = said, control.SourceCode, v.Value
		case ok && v.Source == control.SourceFile:
			v.Otherwise = said
		case v.Source == control.SourceDefault && within(v.Key, code):
			continue // of what code turns off as a whole
		}
		out = append(out, v)
	}
	var more []string
	for key := range code {
		if !there[key] {
			more = append(more, key)
		}
	}
	slices.Sort(more)
	for _, key := range more {
		if !slices.ContainsFunc(out, func(v control.PolicyValue) bool {
			return strings.HasPrefix(v.Key, key+".") || strings.HasPrefix(key, v.Key+".")
		}) {
			out = append(out, control.PolicyValue{Key: key, Value: code[key], Source: control.SourceCode})
		}
	}
	return out
}

// within says whether a key is below one that code turns off.
func within(key string, code map[string]string) bool {
	for above, value := range code {
		if value == "off" && strings.HasPrefix(key, above+".") {
			return true
		}
	}
	return false
}
