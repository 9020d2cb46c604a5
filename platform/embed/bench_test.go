package embed_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// BenchmarkColdStart is how long three new members in one process take until all are ready.
//
//	go test -run - -bench ColdStart -benchtime 5x ./platform/embed
func BenchmarkColdStart(b *testing.B) {
	var took time.Duration
	for range b.N {
		begun := time.Now()
		members := cluster(b)
		took += time.Since(begun)
		for _, m := range members {
			m.stop(b)
		}
	}
	b.ReportMetric(took.Seconds()/float64(b.N), "s/start")
}

// BenchmarkHandOver is how long writes are not possible when the leader stops in order.
//
//	go test -run - -bench HandOver -benchtime 5x ./platform/embed
func BenchmarkHandOver(b *testing.B) {
	var blocked time.Duration
	for range b.N {
		members := cluster(b)
		all := client(b, members...)
		first := leader(b, all, members)
		others, err := clientv3.New(clientv3.Config{
			Endpoints: []string{members[(first+1)%3].cfg.ClientAddr, members[(first+2)%3].cfg.ClientAddr},
			Logger:    zap.NewNop(),
		})
		check(b, err)
		put(b, others, "k", "v")
		members[first].cancel()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		for ended := false; !ended; {
			begun := time.Now()
			put(b, others, "k", "v")
			blocked = max(blocked, time.Since(begun))
			select {
			case err := <-members[first].ended:
				members[first].ended <- err
				ended = true
			case <-ctx.Done():
				ended = true
			default:
			}
		}
		cancel()
		others.Close()
		for _, m := range members {
			m.stop(b)
		}
	}
	b.ReportMetric(blocked.Seconds(), "s-worst")
}
