package kafkaqueue

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// orphanWait is for how long a partition may belong to nobody beyond the time that its last owner has to give it up.
const orphanWait = 2 * watchEvery

// orphans sees to it that no partition is nobody's. A group gives partitions from one member to another in two steps: who has
// them gives them up and then joins again, whereupon they are given out. When that member dies in between and a process takes its place
// by its name, the broker takes it for the one that it knows, begins no second step, and the partitions stay with nobody for as long
// as all members live. So whoever has taken a place looks after that at once, and everybody does after a while.
func (r *receiver) orphans(ctx context.Context, partitions map[string]int) {
	group, err := ask(ctx, r.d, func(ctx context.Context) (kadm.DescribedGroup, error) {
		all, err := r.d.admin.DescribeGroups(ctx, r.group)
		if err != nil {
			return kadm.DescribedGroup{}, err
		}
		return all.On(r.group, nil)
	})
	if err != nil || group.Err != nil {
		return // there is a next time
	}
	r.mu.Lock()
	client := r.client
	me, _ := client.GroupMetadata()
	mine, left := false, 0
	if group.State == "Stable" {
		given := group.AssignedPartitions()
		for topic, n := range partitions {
			left += max(0, n-len(given[topic]))
		}
	}
	for _, m := range group.Members {
		mine = mine || m.MemberID == me
	}
	join := false
	switch now := time.Now(); {
	case !mine || r.stopped:
	case left == 0:
		r.orphaned = time.Time{}
		if group.State == "Stable" {
			r.arrived = true
		}
	case r.orphaned.IsZero() && r.arrived:
		r.orphaned = now
	case !r.arrived || now.Sub(r.orphaned) > r.d.cfg.RevokeWait+orphanWait:
		r.arrived, r.orphaned, join = true, time.Time{}, true
	}
	r.mu.Unlock()
	if join {
		r.d.cfg.Logger.Info("kafka: partitions are nobody's: joining the group again", "partitions", left, "topic", r.s.Topic, "group", r.s.Group)
		client.ForceRebalance()
	}
}
