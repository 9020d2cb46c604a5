package kafkaqueue_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
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
