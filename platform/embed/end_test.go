package embed

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	etcd "go.etcd.io/etcd/server/v3/embed"
)

// A member that was made the leader by one that ended after it, when it was past handing over, does not look for another.
func TestALeaderThatIsLeftAloneEnds(t *testing.T) {
	t.Parallel()
	const n = 3
	servers := make([]*etcd.Etcd, n)
	cluster := make(map[string]string)
	var clients []string
	for i := range 2 * n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if clients = append(clients, l.Addr().String()); i >= n {
			cluster[fmt.Sprint("m", i-n)] = l.Addr().String()
		}
		l.Close()
	}
	var started sync.WaitGroup
	for i := range n {
		name := fmt.Sprint("m", i)
		cfg := EtcdConfig{
			Name: name, DataDir: t.TempDir(), ClientAddr: clients[i], PeerAddr: cluster[name], Cluster: cluster,
		}.withDefaults()
		started.Go(func() {
			server, err := start(cfg, false, newBridge(slog.New(slog.DiscardHandler)), newStreams())
			if err != nil {
				t.Error(err)
				return
			}
			<-server.Server.ReadyNotify()
			servers[i] = server
		})
	}
	started.Wait()
	if t.Failed() {
		return
	}
	var leader *etcd.Etcd
	var others []*etcd.Etcd
	for _, s := range servers {
		if leader == nil && s.Server.Lead() == uint64(s.Server.MemberID()) {
			leader = s
		} else {
			others = append(others, s)
			defer s.Close()
		}
	}
	if leader == nil {
		t.Fatal("no leader")
	}
	var gone sync.WaitGroup
	for _, s := range others {
		gone.Go(s.Server.HardStop)
	}
	begun := time.Now()
	end(leader, newStreams())
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("took %s", took)
	}
	gone.Wait()
}
