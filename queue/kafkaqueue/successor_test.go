package kafkaqueue_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// TestANewTopicBeginsAtItsBeginning: what is settled of a topic that was deleted is nothing of the one that takes its name,
// whenever that is created, also with brokers that know topics by their names alone in commits.
func TestANewTopicBeginsAtItsBeginning(t *testing.T) {
	for name, versions := range map[string]*kversion.Versions{"3.7": kversion.V3_7_0(), "latest": nil} {
		for what, wait := range map[string]time.Duration{
			"before it is settled": -1, "at once": 0, "soon": 300 * time.Millisecond, "later": 2 * time.Second, "late": 15 * time.Second,
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var opts []kfake.Opt
					if versions != nil {
						opts = append(opts, kfake.MaxVersions(versions))
					}
					f := newFake(t, opts...)
					c := open(t, f)
					c.declare("t", "g")
					r := c.subscribe("t", "i", 100)
					for i := range 10 {
						c.publish("t", message("k", i))
					}
					ds := receive(t, r, 10, 10*time.Second)
					if len(ds) != 10 {
						t.Fatalf("%d came", len(ds))
					}
					pause(2 * time.Second) // until it has been seen that the topic is there
					create := func() {
						t.Helper()
						_, err := kadm.NewClient(foreign(t, f)).CreateTopic(t.Context(), 6, 1, nil, "t")
						if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) { // who receives may have been first
							t.Fatal(err)
						}
					}
					remove(t, f, "t")
					if wait < 0 {
						create()
					}
					_ = r.Ack(t.Context(), ds)
					if wait >= 0 {
						pause(wait)
						create()
					}
					var want []string
					for i := range 20 {
						m := message("k", 100+i)
						c.publish("t", m)
						want = append(want, m.ID)
					}
					var got []string
					for len(got) < len(want) {
						ds := receive(t, r, 1, 30*time.Second)
						if len(ds) == 0 {
							break
						}
						got = append(got, ds[0].Message.ID)
						_ = r.Ack(t.Context(), ds) // what was lost with the client comes again
						if n := len(got); slices.Contains(got[:n-1], got[n-1]) {
							got = got[:n-1]
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("%d of %d came: %v", len(got), len(want), got)
					}
					pause(2 * time.Second)
					c.nothingWaits()
				})
			})
		}
	}
}

// TestATopicThatABrokerDoesNotKnow: who is told that a topic is not there when it says what is settled, and it is there all the same, goes
// on receiving: at the worst something comes again.
func TestATopicThatABrokerDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := open(t, f)
		c.declare("t", "g")
		r := c.subscribe("t", "i", 100)
		pause(2 * time.Second)
		f.cluster.ControlKey(int16(kmsg.OffsetCommit), func(k kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
			req, _ := k.(*kmsg.OffsetCommitRequest)
			resp, _ := req.ResponseKind().(*kmsg.OffsetCommitResponse)
			for _, topic := range req.Topics {
				rt := kmsg.NewOffsetCommitResponseTopic()
				rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
				for _, p := range topic.Partitions {
					rp := kmsg.NewOffsetCommitResponseTopicPartition()
					rp.Partition, rp.ErrorCode = p.Partition, kerr.UnknownTopicOrPartition.Code
					rt.Partitions = append(rt.Partitions, rp)
				}
				resp.Topics = append(resp.Topics, rt)
			}
			return resp, nil, true // once
		})
		for i := range 2 {
			c.publish("t", message("k", i))
			for id := ""; id != message("k", i).ID; {
				ds := receive(t, r, 1, 30*time.Second)
				if len(ds) == 0 {
					t.Fatalf("%d does not come", i)
				}
				id = ds[0].Message.ID
				_ = r.Ack(t.Context(), ds) // may be lost
			}
			pause(10 * time.Second)
		}
		if ds := receive(t, r, 10, 30*time.Second); len(ds) > 1 || r.Ack(t.Context(), ds) != nil {
			t.Errorf("%d came again", len(ds))
		}
		pause(time.Second)
		c.nothingWaits()
	})
}
