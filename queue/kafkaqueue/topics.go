package kafkaqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	defaultReplicas  = 3
	defaultRetention = 7 * 24 * time.Hour
	// maxKnown is how many topics are remembered as being there.
	maxKnown = 10_000
)

// Declare implements driver.Engine. Partitions, replicas and retention of a topic that exists stay as they are: more
// partitions would move keys.
func (d *Driver) Declare(ctx context.Context, t driver.Topic) error {
	if err := checkTopic(t.Name); err != nil {
		return err
	}
	want := []topic{d.mainTopic(t)}
	for _, g := range t.Groups {
		want = append(want, d.groupTopics(t, g)...)
	}
	d.forget(want)
	d.remember(t)
	return wrong(ctx, d.ensure(ctx, want), "declare %s", t.Name)
}

// topic is one of Kafka's.
type topic struct {
	name       string
	partitions int
	replicas   int
	config     map[string]string
}

func (d *Driver) mainTopic(t driver.Topic) topic {
	retention := cmp.Or(t.Retention, defaultRetention)
	return topic{
		name: t.Name, partitions: cmp.Or(t.Partitions, d.cfg.Partitions), replicas: cmp.Or(t.Replicas, d.cfg.Replicas),
		config: map[string]string{"cleanup.policy": "delete", "retention.ms": strconv.FormatInt(retention.Milliseconds(), 10)},
	}
}

func (d *Driver) groupTopics(t driver.Topic, group string) []topic {
	again := d.mainTopic(t)
	again.name, again.partitions = againTopic(t.Name, group), min(again.partitions, againPartitions)
	dead := topic{
		name: deadTopic(t.Name, group), partitions: 1, replicas: again.replicas,
		config: map[string]string{
			"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": "86400000", "max.compaction.lag.ms": "604800000",
		},
	}
	return []topic{again, dead}
}

// ensureGroup makes sure that everything of a group is there, and is quick if it was seen.
func (d *Driver) ensureGroup(ctx context.Context, name, group string) error {
	if err := checkTopic(name); err != nil {
		return err
	}
	t := d.remembered(name)
	return d.ensure(ctx, append(d.groupTopics(t, group), d.mainTopic(t)))
}

// remember keeps what a declaration says beyond its name, even if it fails: whoever creates the topic in the end must create
// that one.
func (d *Driver) remember(t driver.Topic) {
	if t.Partitions == 0 && t.Replicas == 0 && t.Retention == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.declared) >= maxKnown {
		clear(d.declared)
	}
	d.declared[t.Name] = driver.Topic{Name: t.Name, Partitions: t.Partitions, Replicas: t.Replicas, Retention: t.Retention}
}

func (d *Driver) remembered(name string) driver.Topic {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t, ok := d.declared[name]; ok {
		return t
	}
	return driver.Topic{Name: name}
}

func (d *Driver) forget(topics []topic) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range topics {
		delete(d.known, t.name)
	}
}

// lost is told of a topic that is not there any more, or is another one of the same name.
func (d *Driver) lost(name string) {
	d.mu.Lock()
	delete(d.known, name)
	d.mu.Unlock()
	d.producer.PurgeTopicsFromProducing(name)
}

// ensure creates what is missing, and returns when brokers know leaders for all partitions of it.
func (d *Driver) ensure(ctx context.Context, want []topic) error {
	d.mu.Lock()
	var unseen []topic
	for _, t := range want {
		if !d.known[t.name] {
			unseen = append(unseen, t)
		}
	}
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return errClosed
	}
	if len(unseen) == 0 {
		return ctx.Err()
	}
	created := false
	for {
		missing, settling, err := d.look(ctx, unseen)
		if err != nil {
			return err
		}
		if len(missing) == 0 && !settling {
			break
		}
		if len(missing) > 0 && !created {
			if err := d.create(ctx, missing); err != nil {
				return err
			}
			created = true // what is missing from now on is on its way
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) > maxKnown {
		clear(d.known)
	}
	for _, t := range unseen {
		d.known[t.name] = true
	}
	return nil
}

// look returns which topics are missing, and whether others have partitions without a leader that has never been.
func (d *Driver) look(ctx context.Context, want []topic) (missing []topic, settling bool, err error) {
	names := make([]string, len(want))
	for i, t := range want {
		names[i] = t.name
	}
	meta, err := ask(ctx, d, func(ctx context.Context) (kadm.Metadata, error) { return d.admin.Metadata(ctx, names...) })
	if err != nil {
		return nil, false, err
	}
	// Messages would wait for a broker that is not dialled until they are given up, without a word of why.
	for _, b := range meta.Brokers {
		if err := d.cfg.exposed(net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))); err != nil {
			return nil, false, fmt.Errorf("%w: %w", driver.ErrRefused, err)
		}
	}
	for _, t := range want {
		got, ok := meta.Topics[t.name]
		switch {
		case !ok || errors.Is(got.Err, kerr.UnknownTopicOrPartition):
			missing = append(missing, t)
		case errors.Is(got.Err, kerr.LeaderNotAvailable):
			settling = true
		case got.Err != nil:
			return nil, false, fmt.Errorf("topic %s: %w", t.name, got.Err)
		case len(got.Partitions) == 0:
			settling = true
		}
	}
	return missing, settling, nil
}

// create asks for as many replicas as there should be, and not for as many as there are brokers now: a topic keeps for good
// what it was created with, and two of three brokers may be about to start. Only when the cluster says that it has fewer,
// and nobody gave a number, it asks for fewer.
func (d *Driver) create(ctx context.Context, missing []topic) error {
	for _, t := range missing {
		replicas, least := t.replicas, t.replicas
		if replicas == 0 {
			// Brokers that the configuration names are there, even when they have not been seen yet.
			replicas, least = defaultReplicas, min(defaultReplicas, len(d.cfg.Brokers))
		}
		for {
			err := d.createWith(ctx, t, replicas)
			if errors.Is(err, kerr.InvalidReplicationFactor) && replicas > least {
				replicas--
				continue
			}
			if err != nil {
				return err
			}
			break
		}
		if t.replicas == 0 && replicas < defaultReplicas {
			d.cfg.Logger.Warn("kafka: the cluster has too few brokers: the topic has fewer replicas, and keeps them when there are more brokers",
				"topic", t.name, "replicas", replicas)
		}
	}
	return nil
}

func (d *Driver) createWith(ctx context.Context, t topic, replicas int) error {
	config := map[string]*string{"min.insync.replicas": kadm.StringPtr(strconv.Itoa(replicas/2 + 1))}
	if most := d.batch(); most > brokerMessage {
		config["max.message.bytes"] = kadm.StringPtr(strconv.Itoa(most))
	}
	for k, v := range t.config {
		config[k] = kadm.StringPtr(v)
	}
	resp, err := ask(ctx, d, func(ctx context.Context) (kadm.CreateTopicResponses, error) {
		return d.admin.CreateTopics(ctx, int32(t.partitions), int16(replicas), config, t.name) //nolint:gosec // checked by package queue, and by the broker
	})
	if err != nil {
		return err
	}
	if r := resp[t.name]; r.Err != nil && !errors.Is(r.Err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s with %d replicas: %w (%s)", t.name, replicas, r.Err, r.ErrMessage)
	}
	return nil
}

// batch is the most bytes of a batch of records.
func (d *Driver) batch() int {
	return max(d.cfg.MaxMessage+headroom, defaultMessage+headroom)
}

// Groups implements driver.Engine: by the topics of groups.
func (d *Driver) Groups(ctx context.Context) ([]driver.Group, error) {
	topics, err := ask(ctx, d, func(ctx context.Context) (kadm.TopicDetails, error) { return d.admin.ListTopics(ctx) })
	if err != nil {
		return nil, wrong(ctx, err, "list topics")
	}
	var out []driver.Group
	for name := range topics {
		if g, ok := groupOf(name, againSuffix); ok && topics.Has(g.Topic) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b driver.Group) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Group, b.Group))
	})
	return out, nil
}
