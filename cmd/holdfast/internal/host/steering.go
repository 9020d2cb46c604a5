//go:build unix

package host

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/agent"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/policy/policystore"
	"github.com/holdfast-go/holdfast/queue"
)

// policiesTimeout bounds a look at the live policies.
const policiesTimeout = 3 * time.Second

// steering implements control.Steering for a host.
type steering struct{ *Host }

// Conditions implements control.Steering.
func (s steering) Conditions() map[string]control.Condition { return s.said().conditions() }

// Groups implements control.Steering.
func (s steering) Groups() []control.Group { return s.said().groups(s.serviceOf()) }

// Locks implements control.Steering: what the processes say that they hold. Others are not known of. While the registry, which has
// the locks, does not answer, it may be that they hold none of them any more.
func (s steering) Locks() (locks []control.Lock, missing string) {
	return s.said().locks(), s.outside.trouble()
}

// Queues implements control.Steering.
func (s steering) Queues() (measured []control.Queue, missing string) {
	if s.queues == nil {
		return nil, ""
	}
	measured, missing = s.queues.latest()
	return known(measured, s.said()), missing
}

// said is what processes say; nothing before they can.
func (h *Host) said() said {
	if h.agent == nil {
		return nil
	}
	all := said(h.agent.States())
	if s := h.edgeState(); len(s.Balancers) > 0 {
		all[control.EdgeEnd] = agent.StateSaid{State: s}
	}
	return all
}

// edgeState is what the edges know of the instances that they ask.
func (h *Host) edgeState() (s fault.State) {
	for _, e := range h.edges {
		b := fault.BalancerState{Service: e.Service(), Protocol: "http"}
		for _, i := range e.Instances() {
			b.Instances = append(b.Instances, fault.InstanceState{ID: i.ID, Addr: i.Addr, State: i.State, Why: i.Why, Until: i.Until, InFlight: i.InFlight})
		}
		if len(b.Instances) > 0 {
			s.Balancers = append(s.Balancers, b)
		}
	}
	return s
}

// edgeMoved is told when an edge gives an instance no requests for a while, and when it does again.
func (h *Host) edgeMoved(balance.Event) {
	select {
	case h.moved <- struct{}{}:
	default:
	}
}

// Dead implements control.Steering.
func (s steering) Dead(ctx context.Context, topic, group, after string, limit int) ([]control.DeadLetter, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var out []control.DeadLetter
	err := s.withLetters(ctx, topic, group, func(letters *queue.DeadLetters) error {
		found, err := letters.List(ctx, after, limit)
		for _, l := range found {
			out = append(out, letter(l))
		}
		return err
	})
	return out, err
}

// Replay implements control.Steering.
func (s steering) Replay(ctx context.Context, topic, group string, positions ...string) (n int, err error) {
	return s.change(ctx, topic, group, "given to it again", positions, (*queue.DeadLetters).Replay, (*queue.DeadLetters).ReplayAll)
}

// Discard implements control.Steering.
func (s steering) Discard(ctx context.Context, topic, group string, positions ...string) (n int, err error) {
	return s.change(ctx, topic, group, "removed", positions, (*queue.DeadLetters).Discard, (*queue.DeadLetters).DiscardAll)
}

// change does something to some dead letters of a group or to all, and says so.
func (s steering) change(ctx context.Context, topic, group, done string, positions []string,
	some func(*queue.DeadLetters, context.Context, ...string) (int, error), all func(*queue.DeadLetters, context.Context) (int, error),
) (n int, err error) {
	err = s.withLetters(ctx, topic, group, func(letters *queue.DeadLetters) (err error) {
		if len(positions) == 0 {
			n, err = all(letters, ctx)
		} else {
			n, err = some(letters, ctx, positions...)
		}
		return err
	})
	if n > 0 {
		s.feed.publish(control.Event{Time: time.Now(), Message: fmt.Sprintf("%s of %s/%s %s", count(n, "dead letter"), topic, group, done)})
	}
	return n, err
}

func (s steering) withLetters(ctx context.Context, topic, group string, do func(*queue.DeadLetters) error) error {
	if s.queues == nil {
		return failure.New(failure.FailedPrecondition, "the system has no engine for messages")
	}
	letters, err := s.queues.letters(ctx, topic, group)
	if err == nil {
		err = do(letters)
	}
	return coded(err)
}

// coded gives an error that has no code of the API's one, so that its words are shown.
func coded(err error) error {
	if code := failure.CodeOf(err); err != nil && (code == failure.Unknown || code == failure.Internal) {
		return failure.Wrap(err, failure.Unavailable, "%s", err.Error())
	}
	return err
}

// Policies implements control.Steering.
func (s steering) Policies(ctx context.Context, service string) ([]control.PolicyInForce, error) {
	live, missing := s.livePolicies(ctx)
	code, silent := s.policiesInCode(ctx)
	if silent != "" {
		missing = strings.TrimPrefix(missing+"; "+silent, "; ")
	}
	var out []control.PolicyInForce
	for _, svc := range s.sys.Services {
		if service == "" || service == svc.Name {
			p := inForce(svc.Name, s.sys.Policies[svc.Name], live[svc.Name], missing)
			p.Values = underneath(p.Values, code[svc.Name])
			out = append(out, p)
		}
	}
	return out, nil
}

// livePolicies reads the live policies by service.
func (h *Host) livePolicies(ctx context.Context) (live map[string]config.Entry, missing string) {
	live = make(map[string]config.Entry)
	if h.policies.store == nil {
		return live, ""
	}
	ctx, cancel := context.WithTimeout(ctx, policiesTimeout)
	defer cancel()
	entries, err := h.policies.store.List(ctx, policystore.Prefix)
	if err != nil {
		h.cfg.Logger.Info("the live policies cannot be read", slog.Any("error", err))
		return live, "the live policies cannot be read now: " + brief(err)
	}
	for _, e := range entries {
		if name, ok := policystore.Service(e.Key); ok {
			live[name] = e
		}
	}
	return live, ""
}

// inForce says what is in force of a service's policies, and where each value comes from.
func inForce(service string, file policy.Service, live config.Entry, missing string) control.PolicyInForce {
	out := control.PolicyInForce{Service: service, Revision: live.Revision, Missing: missing}
	var over policy.Service
	if live.Revision != 0 {
		parsed, err := policy.Parse(service, live.Value)
		if live.Err != nil {
			err = live.Err
		}
		if err == nil {
			err = checkPolicy(service, policy.Overlay(file, parsed))
		}
		if err != nil {
			out.Refused = strings.Split(err.Error(), "\n")
		} else {
			over = parsed
		}
	}
	// Later layers are in force where they say something.
	inFile, inLive := valuesOf(file), valuesOf(over)
	for _, v := range policy.Values(policy.Overlay(file, over)) {
		value := control.PolicyValue{Key: v.Key, Value: v.Value, Source: control.SourceDefault}
		switch {
		case v.Value == "":
			value.Value = v.Standard
		case inLive[v.Key] == v.Value:
			value.Source, value.Otherwise = control.SourceLive, v.Standard
			if before, ok := inFile[v.Key]; ok {
				value.Otherwise = before
			}
		default:
			value.Source, value.Otherwise = control.SourceFile, v.Standard
		}
		out.Values = append(out.Values, value)
	}
	return out
}

// valuesOf are the values that a policy sets, by key.
func valuesOf(p policy.Service) map[string]string {
	out := make(map[string]string)
	for _, v := range policy.Values(p) {
		if v.Value != "" {
			out[v.Key] = v.Value
		}
	}
	return out
}
