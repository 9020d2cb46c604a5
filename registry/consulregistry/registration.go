package consulregistry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/internal/consul"
	"github.com/holdfast-go/holdfast/registry/driver"
)

const (
	// visibleMax is how long a write may take from the agent to the servers before it is not waited for any more.
	visibleMax = 2 * time.Second
	// noticeMark is how long the mark of an instance that leaves stays, so that those who watch see it before the
	// instance is gone: a watch tells of states, and not of each.
	noticeMark = 300 * time.Millisecond
	// missingMax is how often in a row the servers may not have what the agent has, before it is written again. The
	// agent itself would notice within a minute or more.
	missingMax = 2
	// cleanTimeout bounds looking after an agent that was left.
	cleanTimeout = 300 * time.Millisecond
)

var errSilent = errors.New("agent does not answer")

// registration is a service at an agent, with a check of its own. Each has another lease, which is part of the check's ID,
// so that a heartbeat can never keep alive what another registration wrote under the same service ID.
type registration struct {
	d     *Driver
	name  string // Consul's
	ttl   time.Duration
	rec   driver.Record // as written last
	last  written
	agent *consul.Agent
	left  []*consul.Agent // that may have an older record of ours, since they did not answer

	missing int
	marked  time.Time // when the servers had the mark of draining
}

func (r *registration) serviceID() string { return serviceID(r.name, r.rec.ID) }

// checkID is Consul's own form for one of several checks of a service.
func (r *registration) checkID() string { return "service:" + r.serviceID() + ":" + r.last.lease }

func (r *registration) String() string { return r.rec.Service + "/" + r.rec.ID }

// Register implements driver.Registry. It returns when the servers have the record, or, when they do not answer and the
// agent does, after two seconds: the agent has it then, and brings it to them as soon as it can.
func (d *Driver) Register(ctx context.Context, rec driver.Record, ttl time.Duration, takeOver bool) (driver.Registration, error) {
	r := &registration{d: d, name: d.name(rec.Service), ttl: ttl, rec: rec}
	err := d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		if !takeOver {
			if err := r.free(ctx, a); err != nil {
				return err
			}
		}
		r.moveTo(a)
		return r.write(ctx, true)
	})
	if err != nil {
		return nil, fmt.Errorf("register %s: %w", r, err)
	}
	_ = r.visible(ctx) // what is wrong with the servers is what Renew tells
	return r, nil
}

// moveTo makes a the agent of a new lease. Each other one is left once, however often it is tried in vain, and a is not.
func (r *registration) moveTo(a *consul.Agent) {
	if r.agent != nil && r.agent != a {
		r.left = append(slices.DeleteFunc(r.left, func(left *consul.Agent) bool { return left == a }), r.agent)
	}
	r.agent, r.last, r.missing = a, written{lease: rand.Text()[:10]}, 0
}

// free returns ErrTaken if somebody else holds the ID.
func (r *registration) free(ctx context.Context, a *consul.Agent) error {
	instances, _, err := r.look(ctx, a, nil)
	if err != nil {
		return err
	}
	for _, i := range instances {
		if i.rival(r.rec.Owner) {
			return driver.ErrTaken
		}
	}
	return nil
}

// rival reports whether i is a living record of another owner.
func (i instance) rival(owner string) bool {
	return i.err == nil && !i.dead && i.written != (written{}) && i.rec.Owner != owner
}

// look returns what the servers have under the ID, on all nodes.
func (r *registration) look(ctx context.Context, a *consul.Agent, query url.Values) ([]instance, uint64, error) {
	if query == nil {
		query = make(url.Values)
	}
	if filter := only(r.serviceID()); filter != "" {
		query.Set("filter", filter)
	}
	var entries []entry
	m, err := a.Get(ctx, consul.Path("/v1/health/service", r.name), query, &entries)
	if err == nil && m.Filtered && len(entries) == 0 {
		err = errMayNotRead
	}
	if err != nil {
		return nil, 0, err
	}
	out := make([]instance, 0, len(entries))
	for _, e := range entries {
		if e.Service.ID == r.serviceID() {
			out = append(out, decode(r.rec.Service, r.name, e))
		}
	}
	return out, m.Index, nil
}

// write has the agent take the record as it is in r.rec. fresh is for the first write of a lease, which replaces the
// checks of whoever had the ID before, of an instance in maintenance as well.
func (r *registration) write(ctx context.Context, fresh bool) error {
	r.last.number++
	def, err := encode(r.name, r.rec, r.last)
	if err != nil {
		return err
	}
	def.Check = &checkDefinition{
		CheckID: r.checkID(), Name: "alive", Notes: "Kept passing by the instance itself.", TTL: r.ttl.String(), Status: passing,
		DeregisterCriticalServiceAfter: r.d.cfg.ReapAfter.String(),
	}
	query := make(url.Values)
	if fresh {
		query.Set("replace-existing-checks", "true")
		if r.rec.Draining {
			def.Check.Status = critical // until it is marked
		}
	}
	if _, err := r.agent.Put(ctx, "/v1/agent/service/register", query, def, nil); err != nil {
		return err
	}
	if fresh && r.rec.Draining {
		if err := r.mark(ctx, true); err != nil {
			return err
		}
		return r.beat(ctx)
	}
	return nil
}

// mark sets or ends Consul's maintenance mode.
func (r *registration) mark(ctx context.Context, draining bool) error {
	query := url.Values{"enable": {strconv.FormatBool(draining)}}
	if draining {
		query.Set("reason", "draining")
	}
	_, err := r.agent.Put(ctx, consul.Path("/v1/agent/service/maintenance", r.serviceID()), query, nil, nil)
	return err
}

// beat keeps the check alive.
func (r *registration) beat(ctx context.Context) error {
	status := struct{ Status string }{passing}
	_, err := r.agent.Put(ctx, consul.Path("/v1/agent/check/update", r.checkID()), nil, status, nil)
	return err
}

// visible waits until the servers have what was written last.
func (r *registration) visible(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, visibleMax)
	defer cancel()
	return r.d.client.On(ctx, r.agent, func(ctx context.Context, a *consul.Agent) error {
		return r.until(ctx, a, func(instances []instance) (bool, error) {
			for _, i := range instances {
				if i.written.lease == r.last.lease && i.written.number >= r.last.number && (i.rec.Draining || !r.rec.Draining) {
					return true, nil
				}
			}
			return false, nil
		})
	})
}

// until looks, with blocking queries, until done says so.
func (r *registration) until(ctx context.Context, a *consul.Agent, done func([]instance) (bool, error)) error {
	query := make(url.Values)
	for {
		instances, index, err := r.look(ctx, a, query)
		if err != nil {
			return err
		}
		if ok, err := done(instances); ok || err != nil {
			return err
		}
		query.Set("index", strconv.FormatUint(max(1, index), 10))
		deadline, _ := ctx.Deadline()
		query.Set("wait", strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10)+"ms")
	}
}

// Renew implements driver.Registration. The heartbeat goes to the agent; whether the record still stands, and whether
// another process has taken its ID, also on another node, is what the servers say. When the agent is silent and there
// are others, the record moves.
func (r *registration) Renew(ctx context.Context) error {
	err := r.renew(ctx)
	if errors.Is(err, errSilent) && r.d.client.Others() {
		err = r.move(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("renew %s: %w", r, err)
	}
	r.clean(ctx)
	return nil
}

func (r *registration) renew(ctx context.Context) error {
	return r.d.client.On(ctx, r.agent, func(ctx context.Context, a *consul.Agent) error {
		gone, err := r.heartbeat(ctx)
		if err != nil {
			return err
		}
		instances, _, err := r.look(ctx, a, nil)
		if err != nil {
			return err
		}
		switch state := r.judge(instances); {
		case state == taken:
			if !gone {
				_ = r.remove(ctx, a) // or there would be two; the check ends it otherwise
			}
			return driver.ErrTaken
		case gone:
			return driver.ErrLost
		case state == held:
			r.missing = 0
			return nil
		}
		return r.absent(ctx, a)
	})
}

// heartbeat says whether the check is gone. An agent that does not answer is errSilent, within the time in which
// another can be asked.
func (r *registration) heartbeat(ctx context.Context) (gone bool, err error) {
	if r.d.client.Others() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	err = r.beat(ctx)
	var answer *consul.StatusError
	switch {
	case err == nil:
		return false, nil
	case consul.NotFound(err):
		return true, nil
	case !errors.As(err, &answer) && consul.Unanswered(err):
		return false, fmt.Errorf("%w: %w", errSilent, err)
	}
	return false, err
}

type standing int

const (
	held standing = iota
	taken
	unknown // the servers do not have it
)

// judge takes what the servers have under the ID. Of two owners, on two nodes, the one that was written later has it.
func (r *registration) judge(instances []instance) standing {
	var mine *instance
	for n := range instances {
		if instances[n].written.lease == r.last.lease {
			mine = &instances[n]
		}
	}
	for _, i := range instances {
		if i.rival(r.rec.Owner) && (mine == nil || i.index > mine.index) {
			return taken
		}
	}
	if mine == nil {
		return unknown
	}
	return held
}

// absent is for a record that the servers do not have: it may be on its way, or the agent does not have it any more.
func (r *registration) absent(ctx context.Context, a *consul.Agent) error {
	at, found, err := r.at(ctx, a)
	switch {
	case err != nil:
		return err
	case !found || at.lease != r.last.lease:
		return driver.ErrLost
	}
	r.missing++
	if r.missing >= missingMax {
		return driver.ErrLost
	}
	return nil
}

// at returns whose record the agent has under the ID.
func (r *registration) at(ctx context.Context, a *consul.Agent) (at struct{ lease, owner string }, found bool, err error) {
	var s service
	_, err = a.Get(ctx, consul.Path("/v1/agent/service", r.serviceID()), nil, &s)
	if consul.NotFound(err) {
		return at, false, nil
	}
	w, _ := parseWritten(s.Meta[metaLease]) // no lease of ours if it cannot be read
	at.lease, at.owner = w.lease, s.Meta[metaOwner]
	return at, err == nil, err
}

// remove deregisters the record at a if it is still this one. Consul cannot do both in one step; a registration that
// comes between is removed as well, and notices with its next heartbeat.
func (r *registration) remove(ctx context.Context, a *consul.Agent) error {
	at, found, err := r.at(ctx, a)
	switch {
	case err != nil:
		return err
	case !found || at.owner != r.rec.Owner || (at.lease == r.last.lease) != (a == r.agent):
		return nil
	}
	_, err = a.Put(ctx, consul.Path("/v1/agent/service/deregister", r.serviceID()), nil, nil, nil)
	if consul.NotFound(err) {
		return nil
	}
	return err
}

// move writes the record at another agent.
func (r *registration) move(ctx context.Context, cause error) error {
	from := r.agent
	return r.d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		if a == from {
			return cause
		}
		r.moveTo(a)
		return r.write(ctx, true)
	})
}

// clean removes what is left at agents that did not answer, once they do.
func (r *registration) clean(ctx context.Context) {
	if len(r.left) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	kept := r.left[:0]
	for _, a := range r.left {
		if a != r.agent && r.d.client.On(ctx, a, r.remove) != nil {
			kept = append(kept, a)
		}
	}
	r.left = kept
}

// Update implements driver.Registration.
func (r *registration) Update(ctx context.Context, rec driver.Record) error {
	err := r.Renew(ctx)
	if err == nil {
		err = r.update(ctx, rec)
	}
	if err != nil {
		return fmt.Errorf("update %s: %w", r, err)
	}
	return nil
}

func (r *registration) update(ctx context.Context, rec driver.Record) error {
	was := r.rec
	r.rec = rec
	err := r.d.client.On(ctx, r.agent, func(ctx context.Context, _ *consul.Agent) error {
		// Leaving maintenance is for who entered it: an operator may have put the instance there.
		if rec.Draining != was.Draining {
			if err := r.mark(ctx, rec.Draining); err != nil {
				return err
			}
		}
		return r.write(ctx, false)
	})
	if err == nil {
		err = r.visible(ctx)
	}
	switch {
	case err == nil && rec.Draining && !was.Draining:
		r.marked = time.Now()
	case consul.NotFound(err):
		return driver.ErrLost
	case err != nil:
		r.rec = was // so that the next one does all of it again
	}
	return err
}

// Deregister implements driver.Registration. It returns when the servers do not have the record any more, or the agent
// has removed it and the servers do not answer.
func (r *registration) Deregister(ctx context.Context) error {
	r.notice(ctx)
	err := r.d.client.On(ctx, r.agent, r.remove)
	if err != nil {
		return fmt.Errorf("deregister %s: %w", r, err)
	}
	r.clean(ctx)
	_ = r.d.client.On(ctx, r.agent, func(ctx context.Context, a *consul.Agent) error {
		return r.until(ctx, a, func(instances []instance) (bool, error) {
			for _, i := range instances {
				if i.written.lease == r.last.lease {
					return false, nil
				}
			}
			return true, nil
		})
	})
	return nil
}

// notice waits until those who watch can have seen the mark.
func (r *registration) notice(ctx context.Context) {
	if r.marked.IsZero() {
		return
	}
	t := time.NewTimer(time.Until(r.marked.Add(noticeMark)))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
