package kafkaqueue

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// version is the state of a partition that a commit has.
type version struct {
	p *partition
	n uint64
}

// commit tells the broker what is settled of our partitions, of parts alone unless that is nil. The member's generation is
// read before what is ours: if a rebalance comes between, or before the broker has it, the broker refuses all of it, and a
// partition that went to somebody else keeps what that one has committed.
func (r *receiver) commit(ctx context.Context, client *kgo.Client, parts []*partition) error {
	select {
	case r.committing <- struct{}{}: // one at a time: a later one must not be overtaken
		defer func() { <-r.committing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = r.group
	req.MemberID, req.Generation = client.GroupMetadata()
	told := r.fill(req, client, parts)
	if len(told) == 0 {
		return nil
	}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return r.filed(resp, told)
}

// fill adds what is new to a commit, and returns which version of it that is.
func (r *receiver) fill(req *kmsg.OffsetCommitRequest, client *kgo.Client, parts []*partition) map[place]version {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != client || req.MemberID == "" {
		return nil
	}
	if r.instance != "" {
		req.InstanceID = kmsg.StringPtr(r.instance)
	}
	told := make(map[place]version)
	topics := make(map[string]int)
	for at, p := range r.parts {
		if p.version == p.committed || p.position() < 0 || parts != nil && !slices.Contains(parts, p) {
			continue
		}
		i, ok := topics[at.topic]
		if !ok {
			i = len(req.Topics)
			topics[at.topic] = i
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = at.topic, r.ids[at.topic]
			req.Topics = append(req.Topics, t)
		}
		c := kmsg.NewOffsetCommitRequestTopicPartition()
		offset, beyond := p.state()
		c.Partition, c.Offset, c.LeaderEpoch = at.partition, offset, -1
		c.Metadata = kmsg.StringPtr(encodeSettled(offset, beyond, r.ids[at.topic]))
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, c)
		told[at] = version{p, p.version}
	}
	return told
}

func (r *receiver) filed(resp *kmsg.OffsetCommitResponse, told map[place]version) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, t := range resp.Topics {
		name := r.name(t.Topic, t.TopicID)
		for _, c := range t.Partitions {
			at := place{name, c.Partition}
			v, ok := told[at]
			switch e := kerr.ErrorForCode(c.ErrorCode); {
			case unknown(e):
				if ok {
					r.forsake(v.p)
				}
			case e != nil:
				err = e
			case ok:
				v.p.committed = max(v.p.committed, v.n)
			}
		}
	}
	return err
}

// forsake lets go of a partition whose topic is not there. Its offsets are told nobody any more: another topic of that name
// would take them for its own.
func (r *receiver) forsake(p *partition) {
	p.committed = p.version
	r.drop(p)
	delete(r.past, p.place)
	r.amiss = true // unless that topic comes back, and look finds another
	signal(r.looks)
}

// name returns that of a topic of a response, which newer ones know by its ID alone.
func (r *receiver) name(name string, id [16]byte) string {
	if name == "" {
		for topic, known := range r.ids {
			if known == id {
				return topic
			}
		}
	}
	return name
}

// commitLoop commits in the background, one commit at a time.
func (r *receiver) commitLoop() {
	for {
		select {
		case <-r.commits:
		case <-r.life.Done():
			return
		}
		r.mu.Lock()
		client := r.client
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.life), commitTimeout) // cut short, it could still overtake the next
		err := r.commit(ctx, client, nil)
		cancel()
		if err != nil {
			signal(r.commits) // later
		}
		pause := time.NewTimer(commitEvery)
		select {
		case <-pause.C:
		case <-r.life.Done():
			pause.Stop()
			return
		}
	}
}
