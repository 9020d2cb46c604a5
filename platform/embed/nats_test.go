package embed_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/platform/embed"
)

// natsMember is a running server.
type natsMember struct {
	cfg    embed.NATSConfig
	cancel context.CancelFunc
	ended  chan error
	ready  <-chan struct{}
}

func runNATS(t testing.TB, cfg embed.NATSConfig) *natsMember {
	t.Helper()
	n := embed.NewNATS(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	m := &natsMember{cfg: cfg, cancel: cancel, ended: make(chan error, 1), ready: n.Ready()}
	go func() { m.ended <- n.Run(ctx) }()
	t.Cleanup(func() { m.stop(t) })
	return m
}

// stop ends the server in order; once.
func (m *natsMember) stop(t testing.TB) {
	t.Helper()
	m.cancel()
	if m.ended == nil {
		return
	}
	if err := <-m.ended; err != nil {
		t.Error(err)
	}
	m.ended = nil
}

func (m *natsMember) wait(t testing.TB) {
	t.Helper()
	select {
	case <-m.ready:
	case err := <-m.ended:
		m.ended = nil
		t.Fatal(err)
	case <-soon(t).Done():
		t.Fatal("not ready")
	}
}

func natsCluster(t testing.TB, n int, token string) []embed.NATSConfig {
	addrs := addresses(t, 2*n)
	cluster := make(map[string]string)
	for i := range n {
		cluster[fmt.Sprint("m", i)] = addrs[n+i]
	}
	var out []embed.NATSConfig
	for i := range n {
		name := fmt.Sprint("m", i)
		out = append(out, embed.NATSConfig{
			Name: name, DataDir: t.TempDir(), ClientAddr: addrs[i], PeerAddr: cluster[name], Cluster: cluster, Token: token,
		})
	}
	return out
}

func natsClient(t testing.TB, token string, addrs ...string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	var urls []string
	for _, a := range addrs {
		urls = append(urls, "nats://"+a)
	}
	conn, err := nats.Connect(strings.Join(urls, ","), nats.Token(token), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	check(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	check(t, err)
	return conn, js
}

// A server that is stopped and started again has what it confirmed.
func TestNATSKeepsWhatItConfirmed(t *testing.T) {
	cfg := natsCluster(t, 1, "secret")[0]
	cfg.Cluster = nil
	m := runNATS(t, cfg)
	m.wait(t)
	conn, js := natsClient(t, "secret", cfg.ClientAddr)
	_, err := js.CreateStream(soon(t), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	check(t, err)
	_, err = js.Publish(soon(t), "s", []byte("x"))
	check(t, err)
	conn.Close()
	m.stop(t)

	m = runNATS(t, cfg)
	m.wait(t)
	_, js = natsClient(t, "secret", cfg.ClientAddr)
	s, err := js.Stream(soon(t), "S")
	check(t, err)
	if n := s.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d messages", n)
	}
}

// Whoever has no token, or a wrong one, does not get in.
func TestNATSWantsItsToken(t *testing.T) {
	cfg := natsCluster(t, 1, "secret")[0]
	cfg.Cluster = nil
	runNATS(t, cfg).wait(t)
	for _, token := range []string{"", "wrong"} {
		if conn, err := nats.Connect("nats://"+cfg.ClientAddr, nats.Token(token)); err == nil {
			conn.Close()
			t.Errorf("the token %q will do", token)
		}
	}
}

// What is in the way is said, and said at once.
func TestNATSSaysWhatIsInTheWay(t *testing.T) {
	cfg := natsCluster(t, 1, "")[0]
	cfg.Cluster = nil
	runNATS(t, cfg).wait(t)
	other := natsCluster(t, 1, "")[0]
	other.Cluster = nil
	for want, change := range map[string]func(*embed.NATSConfig){
		"taken by another process":  func(c *embed.NATSConfig) { c.ClientAddr = cfg.ClientAddr },
		"in use by another process": func(c *embed.NATSConfig) { c.DataDir = cfg.DataDir },
		"is not loopback":           func(c *embed.NATSConfig) { c.ClientAddr = "192.0.2.1:1" },
		"no data directory":         func(c *embed.NATSConfig) { c.DataDir = "" },
		"not its peer address":      func(c *embed.NATSConfig) { c.Cluster = map[string]string{"x": "127.0.0.1:1"} },
	} {
		c := other
		change(&c)
		if err := embed.NewNATS(c).Run(soon(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
}

// Three servers keep each message on three disks; one that is stopped is not missed, and one whose directory was emptied
// has everything again.
func TestNATSClusterGoesOnWithoutAMember(t *testing.T) {
	t.Parallel()
	cfgs := natsCluster(t, 3, "secret")
	var members []*natsMember
	var clients []string
	for _, c := range cfgs {
		members = append(members, runNATS(t, c))
		clients = append(clients, c.ClientAddr)
	}
	for _, m := range members {
		m.wait(t)
	}
	_, js := natsClient(t, "secret", clients...)
	ctx := soon(t)
	// What is asked while there is no leader, or over a connection that ends, may never be answered.
	patiently := func(ask func(context.Context) error) {
		t.Helper()
		for {
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			err := ask(try)
			if cancel(); err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	var s jetstream.Stream
	patiently(func(ctx context.Context) (err error) {
		s, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
		return err
	})
	n := 0
	publish := func() {
		t.Helper()
		for range 10 {
			n++
			patiently(func(ctx context.Context) error {
				_, err := js.Publish(ctx, "s", []byte("x"), jetstream.WithMsgID(strconv.Itoa(n)))
				return err
			})
		}
	}
	publish()
	var info *jetstream.StreamInfo
	look := func(ctx context.Context) (err error) {
		info, err = s.Info(ctx)
		return err
	}
	patiently(look)
	for i, c := range cfgs {
		if c.Name != info.Cluster.Leader {
			continue
		}
		begun := time.Now()
		members[i].stop(t)
		t.Logf("the leader stopped in %s", time.Since(begun))
		publish()
		cfgs[i].DataDir = t.TempDir()
		members[i] = runNATS(t, cfgs[i])
		members[i].wait(t)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		patiently(look)
		current := 0
		for _, r := range info.Cluster.Replicas {
			if r.Current && r.Lag == 0 && !r.Offline {
				current++
			}
		}
		if current == 2 && info.State.Msgs == 20 {
			return
		}
		<-tick.C
	}
}

// BenchmarkNATSConfirmed publishes from 64 goroutines, to servers that write to the disk before they confirm and to such
// that do not.
func BenchmarkNATSConfirmed(b *testing.B) {
	for _, n := range []int{1, 3} {
		for _, noSync := range []bool{false, true} {
			b.Run(fmt.Sprintf("servers=%d/sync=%v", n, !noSync), func(b *testing.B) {
				cfgs := natsCluster(b, n, "")
				var clients []string
				var members []*natsMember
				for i := range cfgs {
					if cfgs[i].NoSync = noSync; n == 1 {
						cfgs[i].Cluster = nil
					}
					members = append(members, runNATS(b, cfgs[i]))
					clients = append(clients, cfgs[i].ClientAddr)
				}
				for _, m := range members {
					m.wait(b)
				}
				_, js := natsClient(b, "", clients...)
				for {
					_, err := js.CreateStream(soon(b), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: n})
					if err == nil {
						break
					}
					if soon(b).Err() != nil {
						b.Fatal(err)
					}
				}
				data := make([]byte, 128)
				b.SetParallelism(32)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := js.Publish(context.Background(), "s", data); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}
