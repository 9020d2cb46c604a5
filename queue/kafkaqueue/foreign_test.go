package kafkaqueue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/inbox"
)

// foreign is a client that knows nothing of Holdfast.
func foreign(t *testing.T, f *fake, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokerAddr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1_048_588),
		kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) { return f.net.Dial(ctx, brokerAddr) }),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// produce writes to partition 0.
func produce(t *testing.T, c *kgo.Client, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// remove deletes a topic. Fetches take a moment from then on: without it no virtual time passes while a client asks for what is not
// there again and again. It returns how many there are.
func remove(t *testing.T, f *fake, topic string) (fetches *atomic.Int64) {
	t.Helper()
	fetches = new(atomic.Int64)
	f.cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
		f.cluster.KeepControl()
		fetches.Add(1)
		pause(time.Millisecond)
		return nil, nil, false
	})
	if _, err := kadm.NewClient(foreign(t, f)).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	return fetches
}

// run handles what comes until the returned function is called, or the test ends.
func run(t *testing.T, q *queue.Queue, h queue.Handler, cfg queue.SubscriptionConfig) (stop func()) {
	t.Helper()
	s, err := queue.NewSubscription(q, "t", "g", h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// notes is what handlers were given.
type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, s)
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.list)
}

// TestForeignMessagesOfANewTopic: messages without IDs of a topic that was created anew are others than those before them at the same
// offsets, to an inbox too.
func TestForeignMessagesOfANewTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := open(t, f)
		c.declare("t", "g")
		q := queue.New(c.Engine, queue.Config{Source: "test", Instance: "one"})
		var got notes
		run(t, q, queue.Handle(func(_ context.Context, m queue.Message[[]byte]) error {
			got.add(string(m.Value))
			return nil
		}), queue.SubscriptionConfig{Inbox: inbox.NewMemory(0, inbox.Config{})})
		var want []string
		for _, of := range []string{"old", "new"} {
			values := []string{of + " 0", of + " 1", of + " 2"}
			produce(t, foreign(t, f), "t", values...)
			want = append(want, values...)
			pause(15 * time.Second)
			if of == "old" {
				remove(t, f, "t")
				pause(9 * time.Second)
				c.again("t")
				pause(9 * time.Second)
			}
		}
		if got := got.all(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("handled %q", got)
		}
	})
}

// TestAForeignMessageTooLargeToBury: what is larger than we send, since it was compressed, is set aside without its end, and what is
// behind it goes on. So is what the broker does not take as a letter.
func TestAForeignMessageTooLargeToBury(t *testing.T) {
	for name, limit := range map[string]string{"ours": "", "the broker's": "500000"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := open(t, f)
				c.declare("t", "g")
				client := foreign(t, f)
				if limit != "" {
					change := []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}
					if _, err := kadm.NewClient(client).AlterTopicConfigs(t.Context(), change, "t.g.dead"); err != nil {
						t.Fatal(err)
					}
				}
				const size = 1_000_000
				large := bytes.Repeat([]byte("x"), size)
				produce(t, client, "t", string(large), "small")
				q := queue.New(c.Engine, queue.Config{Source: "test", Instance: "one"})
				var got notes
				stop := run(t, q, queue.Handle(func(_ context.Context, m queue.Message[[]byte]) error {
					got.add(strconv.Itoa(len(m.Value)))
					if len(m.Value) > 100 {
						return queue.Reject(errors.New("no"))
					}
					return nil
				}), queue.SubscriptionConfig{Ordered: true})
				pause(time.Minute)
				if got := got.all(); !slices.Equal(got, []string{"1000000", "5"}) {
					t.Errorf("handled %q", got)
				}
				letters, err := q.DeadLetters("t", "g").List(t.Context(), "", 10)
				if err != nil || len(letters) != 1 {
					t.Fatalf("%d letters, %v", len(letters), err)
				}
				m := letters[0].Message
				if n := len(m.Data); n < 400_000 || n >= size || m.Attributes["holdfastcutfrom"] != "1000000" {
					t.Errorf("%d bytes, %q", n, m.Attributes)
				}
				stop()
				c.nothingWaits()
			})
		})
	}
}

// TestAbortedTransactions: what was rolled back is not handled, and nothing seems to wait when all that was committed is settled.
func TestAbortedTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := open(t, f)
		c.declare("t", "g")
		r := c.subscribe("t", "i", 100)
		tx := foreign(t, f, kgo.TransactionalID("tx"))
		for _, end := range []struct {
			value string
			how   kgo.TransactionEndTry
		}{{"rolled back", kgo.TryAbort}, {"committed", kgo.TryCommit}, {"rolled back too", kgo.TryAbort}} {
			if err := tx.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			produce(t, tx, "t", end.value)
			if err := tx.EndTransaction(t.Context(), end.how); err != nil {
				t.Fatal(err)
			}
		}
		ds := receive(t, r, 3, 10*time.Second)
		if len(ds) != 1 || string(ds[0].Message.Data) != "committed" {
			for _, d := range ds {
				t.Errorf("received: %s", d.Message.Data)
			}
		}
		if err := r.Ack(t.Context(), ds); err != nil {
			t.Error(err)
		}
		pause(time.Second)
		c.nothingWaits()
	})
}

// TestOneOfTwoTopicsIsGone: a topic that is deleted and cannot be created again is not asked for without a pause, what is for the
// group alone is received meanwhile, and the topic when it is there.
func TestOneOfTwoTopicsIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.MaxVersions(kversion.V3_0_0())) // of later ones kfake does not forget topics that are gone
		c := open(t, f)
		c.declare("t", "g")
		r := c.subscribe("t", "i", 100)
		pause(2 * time.Second)
		var mu sync.Mutex
		refused := true
		f.cluster.ControlKey(int16(kmsg.CreateTopics), func(k kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
			f.cluster.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			req, _ := k.(*kmsg.CreateTopicsRequest)
			if !refused {
				return nil, nil, false
			}
			resp, _ := req.ResponseKind().(*kmsg.CreateTopicsResponse)
			for _, topic := range req.Topics {
				rt := kmsg.NewCreateTopicsResponseTopic()
				rt.Topic, rt.ErrorCode = topic.Topic, kerr.TopicAuthorizationFailed.Code
				resp.Topics = append(resp.Topics, rt)
			}
			return resp, nil, true
		})
		fetches := remove(t, f, "t")
		pause(10 * time.Second)
		before := fetches.Load()
		pause(10 * time.Second)
		if n := fetches.Load() - before; n > 50 {
			t.Errorf("%d fetches in 10 seconds", n)
		}
		produce(t, foreign(t, f), "t.g.again", "x")
		ds := receive(t, r, 1, 10*time.Second)
		if len(ds) != 1 {
			t.Fatal("what is for the group alone does not come")
		}
		if err := r.Ack(t.Context(), ds); err != nil {
			t.Error(err)
		}
		mu.Lock()
		refused = false
		mu.Unlock()
		pause(10 * time.Second)
		produce(t, foreign(t, f), "t", "y")
		if ds := receive(t, r, 1, 10*time.Second); len(ds) != 1 || string(ds[0].Message.Data) != "y" {
			t.Errorf("%d came", len(ds))
		}
	})
}

// TestATopicIsGoneForAMoment: a broker that does not know a topic for a while, though it is there, is asked again when it does.
func TestATopicIsGoneForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := open(t, f)
		c.declare("t", "g")
		r := c.subscribe("t", "i", 100)
		pause(2 * time.Second)
		begun := time.Now()
		f.cluster.ControlKey(int16(kmsg.Metadata), func(k kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
			f.cluster.KeepControl()
			req, _ := k.(*kmsg.MetadataRequest)
			if time.Since(begun) > 20*time.Second {
				return nil, nil, false
			}
			resp, _ := req.ResponseKind().(*kmsg.MetadataResponse)
			resp.Brokers, resp.ControllerID = []kmsg.MetadataResponseBroker{{Host: "127.0.0.1", Port: 9092}}, 0
			for _, topic := range req.Topics {
				resp.Topics = append(resp.Topics, kmsg.MetadataResponseTopic{
					Topic: topic.Topic, TopicID: topic.TopicID, ErrorCode: kerr.UnknownTopicOrPartition.Code,
				})
			}
			return resp, nil, true
		})
		pause(30 * time.Second)
		produce(t, foreign(t, f), "t", "x")
		if ds := receive(t, r, 1, 10*time.Second); len(ds) != 1 {
			t.Errorf("%d came", len(ds))
		}
	})
}

// TestAnOffsetThatCannotBeFetched: partitions of which the broker does not say where they were left, once, are received from
// later, and of the others nothing comes again that is settled.
func TestAnOffsetThatCannotBeFetched(t *testing.T) {
	for name, answer := range map[string]func(kmsg.OffsetFetchRequestGroupTopic, int32) (kmsg.OffsetFetchResponseGroupTopicPartition, bool){
		"refused": func(_ kmsg.OffsetFetchRequestGroupTopic, p int32) (kmsg.OffsetFetchResponseGroupTopicPartition, bool) {
			rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.ErrorCode = p, -1, -1, kerr.TopicAuthorizationFailed.Code
			return rp, true
		},
		"left out": func(topic kmsg.OffsetFetchRequestGroupTopic, p int32) (kmsg.OffsetFetchResponseGroupTopicPartition, bool) {
			rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch = p, -1, -1
			return rp, topic.Topic != "t" && len(topic.Partitions) < 6
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := open(t, f)
				c.declare("t", "g")
				for i := range 10 {
					c.publish("t", message("k", i))
				}
				begun := time.Now()
				f.cluster.ControlKey(int16(kmsg.OffsetFetch), func(k kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
					f.cluster.KeepControl()
					if time.Since(begun) > 5*time.Second {
						return nil, nil, false
					}
					req, _ := k.(*kmsg.OffsetFetchRequest)
					resp, _ := req.ResponseKind().(*kmsg.OffsetFetchResponse)
					for _, g := range req.Groups {
						rg := kmsg.NewOffsetFetchResponseGroup()
						rg.Group = g.Group
						for _, topic := range g.Topics {
							rt := kmsg.NewOffsetFetchResponseGroupTopic()
							rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
							for _, p := range topic.Partitions {
								if rp, there := answer(topic, p); there {
									rt.Partitions = append(rt.Partitions, rp)
								}
							}
							rg.Topics = append(rg.Topics, rt)
						}
						resp.Groups = append(resp.Groups, rg)
					}
					return resp, nil, true
				})
				r := c.subscribe("t", "i", 100)
				ds := receive(t, r, 10, 2*time.Minute)
				if len(ds) != 10 {
					t.Errorf("%d of 10 came", len(ds))
				}
				if err := r.Ack(t.Context(), ds); err != nil {
					t.Error(err)
				}
				if again := receive(t, r, 1, 2*time.Minute); len(again) > 0 {
					t.Errorf("%s came again", again[0].Message.ID)
				}
			})
		})
	}
}

// undeclared is an engine that cannot be reached while anything is declared.
type undeclared struct{ driver.Engine }

func (u undeclared) Declare(_ context.Context, topic driver.Topic) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return u.Engine.Declare(ctx, topic)
}

// TestOptionsWhenAConsumerIsFirst: a topic is as the program says also if it is a subscription that creates it, at first or after
// it was lost, whether or not it could be declared before.
func TestOptionsWhenAConsumerIsFirst(t *testing.T) {
	for name, with := range map[string]func(driver.Engine) driver.Engine{
		"declared":         func(e driver.Engine) driver.Engine { return e },
		"declared in vain": func(e driver.Engine) driver.Engine { return undeclared{e} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { consumerIsFirst(t, with) })
		})
	}
}

func consumerIsFirst(t *testing.T, with func(driver.Engine) driver.Engine) {
	f := newFake(t)
	q := queue.New(with(open(t, f).Engine), queue.Config{Source: "test", Instance: "one"})
	if _, err := queue.NewTopic[[]byte](q, "t", queue.Partitions(2), queue.Retention(90*24*time.Hour), queue.Groups("g")); err != nil {
		t.Fatal(err)
	}
	run(t, q, queue.Handle(func(context.Context, queue.Message[[]byte]) error { return nil }), queue.SubscriptionConfig{})
	for _, when := range []string{"at first", "after it was deleted"} {
		pause(15 * time.Second)
		admin := kadm.NewClient(foreign(t, f))
		for topic, want := range map[string]int{"t": 2, "t.g.again": 2, "t.g.dead": 1} {
			m, err := admin.Metadata(t.Context(), topic)
			if n := len(m.Topics[topic].Partitions); err != nil || n != want {
				t.Errorf("%s: %s has %d partitions, %v", when, topic, n, err)
			}
		}
		configs, err := admin.DescribeTopicConfigs(t.Context(), "t")
		if err != nil || len(configs) != 1 {
			t.Fatal(configs, err)
		}
		i := slices.IndexFunc(configs[0].Configs, func(c kadm.Config) bool { return c.Key == "retention.ms" })
		if i < 0 || configs[0].Configs[i].MaybeValue() != fmt.Sprint((90*24*time.Hour).Milliseconds()) {
			t.Errorf("%s: %+v", when, configs[0].Configs)
		}
		remove(t, f, "t")
	}
}

// TestLettersThatOthersDiscarded: who has listed dead letters and comes back days later, when another process has discarded them and
// even their tombstones are gone, sees what is there.
func TestLettersThatOthersDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		console, other := open(t, f), open(t, f)
		console.declare("t", "g")
		bury := func(i int) {
			t.Helper()
			if err := other.Bury(t.Context(), "t", "g", message("k", i)); err != nil {
				t.Fatal(err)
			}
		}
		list := func(c *client, limit int) []driver.Dead {
			t.Helper()
			ds, err := c.Dead(t.Context(), "t", "g", "", limit)
			if err != nil {
				t.Fatal(err)
			}
			return ds
		}
		const n = 20
		for i := range n {
			bury(i)
		}
		all := list(console, 100)
		if len(all) != n {
			t.Fatalf("%d letters", len(all))
		}
		var positions []string
		for _, d := range all {
			positions = append(positions, d.Position)
		}
		if gone, err := other.Exhume(t.Context(), "t", "g", positions); err != nil || gone != n {
			t.Fatal(gone, err)
		}
		for day := range 5 {
			pause(25 * time.Hour)
			bury(1000 + day)
			f.cluster.Compact()
		}
		if ds := list(console, 10); len(ds) != 5 || ds[0].Message.ID != "k/1000" {
			t.Errorf("a page has %d of 5 letters", len(ds))
		}
		if lag, err := console.Lag(t.Context(), "t", "g"); err != nil || lag.Dead != 5 {
			t.Errorf("lag %+v, %v", lag, err)
		}
	})
}
