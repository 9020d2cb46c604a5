package kafkaqueue_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
)

// TestAdvertisedBeyondLoopback: a broker on loopback, as at the end of a tunnel, names another one, where password and
// messages would go as they are.
func TestAdvertisedBeyondLoopback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
			f.cluster.KeepControl()
			resp, ok := req.ResponseKind().(*kmsg.MetadataResponse)
			if !ok {
				return nil, nil, false
			}
			resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 0, Host: "10.9.9.9", Port: 9092}}
			resp.ControllerID = 0
			for _, t := range req.(*kmsg.MetadataRequest).Topics { //nolint:forcetypeassert // by its key
				resp.Topics = append(resp.Topics, kmsg.MetadataResponseTopic{Topic: t.Topic, ErrorCode: kerr.UnknownTopicOrPartition.Code})
			}
			return resp, nil, true
		})
		cfg := f.config(f.way(t))
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != brokerAddr {
				t.Errorf("%s is dialled", address)
			}
			return dial(ctx, network, address)
		}
		d, err := kafkaqueue.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err = d.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}})
		if !errors.Is(err, driver.ErrRefused) || !strings.Contains(err.Error(), "10.9.9.9:9092 is beyond loopback") || ctx.Err() != nil {
			t.Errorf("declare: %v", err)
		}
		_, err = d.Subscribe(ctx, driver.Subscription{Topic: "t", Group: "g", Instance: "i", Window: 1, Hold: time.Second})
		if !errors.Is(err, driver.ErrRefused) {
			t.Errorf("subscribe: %v", err)
		}
		if errs := d.Publish(ctx, "t", []*driver.Message{message("k", 0)}); errors.Join(errs...) == nil {
			t.Error("it is confirmed")
		}
	})
}

// TestReplicas: a topic has three replicas whatever is up when it is created, fewer only in a cluster that has fewer brokers,
// and never fewer than somebody has asked for.
func TestReplicas(t *testing.T) {
	named := []string{brokerAddr, "127.0.0.1:9093", "127.0.0.1:9094"}
	for name, c := range map[string]struct {
		brokers int      // that are up
		away    int      // and how many belong to the cluster beside them
		named   []string // of them, in the configuration
		asked   int
		want    int // 0: not created
	}{
		"two of three are down":       {brokers: 1, away: 2, named: named[:1], want: 3},
		"a lone broker":               {brokers: 1, named: named[:1], want: 1},
		"two":                         {brokers: 2, named: named[:1], want: 2},
		"three are named, one is new": {brokers: 1, named: named, want: 0},
		"more are asked for":          {brokers: 1, named: named[:1], asked: 2, want: 0},
		"one is asked for":            {brokers: 3, named: named, asked: 1, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, kfake.NumBrokers(c.brokers), kfake.Ports([]int{9092, 9093, 9094}[:c.brokers]...))
				var created []int16 // number of replicas, by attempt of the topic
				var mu sync.Mutex
				f.cluster.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
					f.cluster.KeepControl()
					mu.Lock()
					defer mu.Unlock()
					rt := &req.(*kmsg.CreateTopicsRequest).Topics[0] //nolint:forcetypeassert // by its key
					created = append(created, rt.ReplicationFactor)
					if int(rt.ReplicationFactor) <= c.brokers+c.away { // a real one lets brokers that are away have replicas
						rt.ReplicationFactor = min(rt.ReplicationFactor, int16(c.brokers)) //nolint:gosec // up to 3
					}
					return nil, nil, false
				})
				var log bytes.Buffer
				cfg := kafkaqueue.Config{
					Brokers: c.named, Replicas: c.asked, Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Dial: func(ctx context.Context, _, address string) (net.Conn, error) { return f.net.Dial(ctx, address) },
				}
				d, err := kafkaqueue.Open(cfg)
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				err = d.Declare(t.Context(), driver.Topic{Name: "t"})
				if took := time.Since(begun); took > time.Second {
					t.Errorf("it took %v", took)
				}
				_ = d.Close()
				mu.Lock()
				defer mu.Unlock()
				switch {
				case c.want == 0:
					if !errors.Is(err, kerr.InvalidReplicationFactor) || errors.Is(err, driver.ErrRefused) {
						t.Errorf("declare: %v, after %d", err, created)
					}
				case err != nil || len(created) == 0 || int(created[len(created)-1]) != c.want:
					t.Errorf("%d, want %d; %v", created, c.want, err)
				case strings.Contains(log.String(), "too few brokers") != (c.want < 3 && c.asked == 0):
					t.Errorf("%d replicas: %s", c.want, log.String())
				}
			})
		})
	}
}
