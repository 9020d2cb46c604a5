package embed

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	etcd "go.etcd.io/etcd/server/v3/embed"

	"github.com/holdfast-go/holdfast/internal/ports"
)

// A member that was made the leader by one that ended after it, when it was past handing over, does not look for another.
func TestALeaderThatIsLeftAloneEnds(t *testing.T) {
	t.Parallel()
	const n = 3
	servers := make([]*etcd.Etcd, n)
	cluster := make(map[string]string)
	var clients []string
	reserved, err := ports.Reserve(2 * n)
	if err != nil {
		t.Fatal(err)
	}
	defer reserved.Release()
	for i := range n {
		clients = append(clients, reserved.Addr(i))
		cluster[fmt.Sprint("m", i)] = reserved.Addr(n + i)
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
	leads := func(s *etcd.Etcd) bool { return s.Server.Lead() == uint64(s.Server.MemberID()) }
	for deadline := time.Now().Add(time.Minute); !slices.ContainsFunc(servers, leads) && time.Now().Before(deadline); {
		<-time.After(20 * time.Millisecond) // there may be an election under way
	}
	for _, s := range servers {
		if leader == nil && leads(s) {
			leader = s
		} else {
			others = append(others, s)
		}
	}
	if leader == nil {
		t.Fatal("no leader")
	}
	var gone sync.WaitGroup
	for _, s := range others {
		gone.Go(func() {
			s.Server.HardStop()
			s.Close() // or the leader may wait for what it asks one that is not there
		})
	}
	begun := time.Now()
	end(leader, newStreams())
	if took, search := time.Since(begun), leader.Server.Cfg.ReqTimeout(); took >= search {
		t.Errorf("took %s: it looked for another leader, for %s", took, search)
	}
	gone.Wait()
}
