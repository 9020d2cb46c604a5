package kafkaqueue

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ids returns the IDs of topics, which a topic that is created again under its name does not keep.
func (d *Driver) ids(ctx context.Context, names ...string) (map[string][16]byte, error) {
	ids, _, err := d.topics(ctx, names...)
	return ids, err
}

// topics returns the IDs of topics, and how many partitions they have.
func (d *Driver) topics(ctx context.Context, names ...string) (ids map[string][16]byte, partitions map[string]int, err error) {
	meta, err := ask(ctx, d, func(ctx context.Context) (kadm.Metadata, error) { return d.admin.Metadata(ctx, names...) })
	if err != nil {
		return nil, nil, err
	}
	ids, partitions = make(map[string][16]byte, len(names)), make(map[string]int, len(names))
	for _, name := range names {
		t, ok := meta.Topics[name]
		if !ok {
			return nil, nil, fmt.Errorf("topic %s is not there", name)
		}
		if t.Err != nil {
			return nil, nil, fmt.Errorf("topic %s: %w", name, t.Err)
		}
		ids[name], partitions[name] = t.ID, len(t.Partitions)
	}
	return ids, partitions, nil
}

// watch sees to it that the topics are there, and that they are the ones we receive from: of a broker that was wiped, the
// client would wait for the topics it knew for ever. And that each partition is somebody's.
func (r *receiver) watch() {
	for wait := firstWatch; ; wait = watchEvery {
		t := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-t.C:
		case <-r.looks:
			t.Reset(2 * minMetadata) // until then the client may answer with what was there before
			select {
			case <-t.C:
			case <-r.life.Done():
			}
		case <-r.life.Done():
		}
		t.Stop()
		if r.life.Err() != nil {
			return
		}
		ctx, cancel := context.WithTimeout(r.life, watchEvery)
		r.look(ctx)
		cancel()
	}
}

func (r *receiver) look(ctx context.Context) {
	ids, partitions, err := r.d.topics(ctx, r.s.Topic, r.again)
	if err != nil {
		if !unknown(err) {
			return // the broker is away
		}
		r.restFrom(ctx)
		for _, name := range []string{r.s.Topic, r.again, deadTopic(r.s.Topic, r.s.Group)} {
			r.d.lost(name)
		}
		if err := r.d.ensureGroup(ctx, r.s.Topic, r.s.Group); err != nil {
			return // there is a next time
		}
		if ids, partitions, err = r.d.topics(ctx, r.s.Topic, r.again); err != nil {
			return
		}
	}
	r.mu.Lock()
	same := r.stopped || maps.Equal(r.ids, ids)
	renew := r.amiss && !r.stopped && (r.renewed.IsZero() || time.Since(r.renewed) > renewEvery)
	r.mu.Unlock()
	switch {
	case !same:
		r.rejoin(ids)
	case renew:
		r.renew()
	default:
		r.goOn()
		r.orphans(ctx, partitions)
	}
}

// restFrom keeps the client from asking for topics that are not there: as long as there is another one, it would do so without a
// pause.
func (r *receiver) restFrom(ctx context.Context) {
	for _, name := range []string{r.s.Topic, r.again} {
		if _, err := r.d.ids(ctx, name); !unknown(err) {
			continue
		}
		r.mu.Lock()
		if !slices.Contains(r.missing, name) {
			r.missing = append(r.missing, name)
		}
		r.client.PauseFetchTopics(name)
		r.mu.Unlock()
	}
}

// goOn ends restFrom: they are the same topics after all.
func (r *receiver) goOn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.missing {
		if name != r.again || !r.resting {
			r.client.ResumeFetchTopics(name)
		}
	}
	r.missing = nil
}

// renew puts a client in the place of one that does not receive from all partitions that it has.
func (r *receiver) renew() {
	r.d.cfg.Logger.Warn("kafka: not all partitions are received from: joining the group anew", "topic", r.s.Topic, "group", r.s.Group)
	r.replace(func() { r.renewed = time.Now() })
}

// rejoin begins anew, with a member that knows the topics as they are now.
func (r *receiver) rejoin(ids map[string][16]byte) {
	r.d.cfg.Logger.Warn("kafka: the topic was created anew: receiving from its beginning", "topic", r.s.Topic, "group", r.s.Group)
	r.replace(func() {
		r.ids = ids
		clear(r.past) // of offsets that are others' now
	})
}

// outdone is called when another member has our name: a process that was started under it while we live, or in our place
// while we were frozen. It has the name now; we go on without one.
func (r *receiver) outdone(client *kgo.Client) {
	r.mu.Lock()
	ours := r.client == client && r.instance != "" && !r.stopped
	r.mu.Unlock()
	if !ours {
		return
	}
	r.d.cfg.Logger.Warn("kafka: another instance has the same name", "instance", r.s.Instance, "topic", r.s.Topic, "group", r.s.Group)
	r.replace(func() { r.instance = "" })
}

// replace puts a new client in the place of the one there is.
func (r *receiver) replace(change func()) {
	r.mu.Lock()
	old, quitOld := r.client, r.quit
	for _, p := range r.parts {
		r.drop(p)
	}
	named := r.instance != ""
	change()
	client, quit, err := r.join()
	if err != nil { // the options are those of the first, so that there is none
		r.mu.Unlock()
		return
	}
	r.client, r.quit, r.resting, r.held = client, quit, false, nil
	r.arrived, r.orphaned, r.amiss, r.missing = false, time.Time{}, false, nil
	if r.endPoll != nil {
		r.endPoll()
	}
	keep := named && r.instance == ""
	r.mu.Unlock()
	r.changed()
	ctx, cancel := context.WithTimeout(r.life, leaveWithin)
	defer cancel()
	if keep { // leaving would be for the other one
		_ = old.LeaveGroupContext(ctx)
	} else {
		r.part(ctx, old)
	}
	quitOld()
	old.Close()
}

// claim is a name of a member that is taken in this process.
type claim struct{ group, instance string }

// claim returns the name under which an instance is a member of a group. A process that is started again under its name
// takes its place in the group at once, where it would otherwise wait until the group gives up the one that was killed. Two
// receivers of one process have two names.
func (d *Driver) claim(group, instance string) claim {
	const most = 200
	clean := []byte(instance[:min(len(instance), most)])
	for i, c := range clean {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			clean[i] = '_'
		}
	}
	if len(clean) == 0 {
		return claim{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := claim{group, string(clean)}
	for n := 2; d.claims[c]; n++ {
		c.instance = string(clean) + "." + strconv.Itoa(n)
	}
	d.claims[c] = true
	return c
}

// part leaves the group: a member with a name would be expected back. Without an answer, the group notices by itself.
func (r *receiver) part(ctx context.Context, client *kgo.Client) {
	r.mu.Lock()
	name := r.instance
	r.mu.Unlock()
	_ = client.LeaveGroupContext(ctx)
	if name == "" {
		return
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = r.group
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, _ = client.GroupMetadata() // none if the join was never answered; then the name is enough
	m.InstanceID, m.Reason = &name, kmsg.StringPtr("stopped")
	req.Members = append(req.Members, m)
	_, _ = req.RequestWith(ctx, r.d.requests)
}
