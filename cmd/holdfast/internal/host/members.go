//go:build unix

package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/internal/diskfile"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/netns"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

// plane is the control plane: its members, and the URLs of the engines that they are. Queue is "" without one.
type plane struct {
	members         []supervise.Member
	registry, queue string
	// reach is where others reach a member, by its ID; clients and queues are what the services connect to.
	reach           map[string][]string
	clients, queues []string
	ids             []string          // in the order of members and clients
	peers           map[string]string // etcd's peer addresses by ID
}

// chooseMembers gives each control member its addresses, the same as in the last run on the same data, in a network of
// namespaces or, if that is nil, on loopback. What is left of a wipe is done first: none of them runs yet.
func chooseMembers(data string, network *netns.Network, n int, queue bool) (p plane, err error) {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s-%d", control.ControlService, i+1))
	}
	if err := endWipe(data, ids); err != nil { // one that a platform was killed in the middle of
		return plane{}, err
	}
	addrs, err := memberAddresses(data, network, ids)
	if err != nil {
		return plane{}, fmt.Errorf("choose addresses of control members: %w", err)
	}
	var cluster, clients, queueCluster, queues []string
	for _, id := range ids {
		cluster = append(cluster, id+"="+addrs[id+" peer"])
		clients = append(clients, addrs[id+" client"])
		queueCluster = append(queueCluster, id+"="+addrs[id+" queue peer"])
		queues = append(queues, addrs[id+" queue"])
	}
	token := filepath.Join(data, "control", "queue-token")
	if queue {
		if err := makeToken(token); err != nil {
			return plane{}, fmt.Errorf("choose a token for the queue: %w", err)
		}
		p.queue = natsqueue.Scheme + "://" + strings.Join(queues, ",") + "?token-file=" + url.QueryEscape(token)
	}
	p.ids, p.clients, p.reach, p.peers = ids, clients, make(map[string][]string), make(map[string]string)
	if queue {
		p.queues = queues
	}
	p.registry = "etcd://" + strings.Join(clients, ",")
	for _, id := range ids {
		p.peers[id] = addrs[id+" peer"]
		for _, what := range slices.Sorted(maps.Keys(networkPorts)) {
			p.reach[id] = append(p.reach[id], addrs[id+" "+what])
		}
		m := supervise.Member{
			ID: id,
			// etcd speaks gRPC, and its health service says SERVING once the member has written through the others.
			Addrs: map[string]string{"grpc": addrs[id+" client"]},
			Args: []string{
				"--name", id,
				"--data", filepath.Join(data, "control", id),
				"--client", addrs[id+" client"],
				"--peer", addrs[id+" peer"],
				"--cluster", strings.Join(cluster, ","),
			},
		}
		if queue {
			m.Args = append(m.Args,
				"--queue", addrs[id+" queue"],
				"--queue-peer", addrs[id+" queue peer"],
				"--queue-cluster", strings.Join(queueCluster, ","),
				"--queue-token-file", token,
			)
		}
		if network != nil {
			m.Args = append(m.Args, "--insecure")
		}
		p.members = append(p.members, m)
	}
	return p, nil
}

// makeToken makes sure that there is a token, which only this user can read. Command lines and environments name the
// file: others can read those, or they are printed somewhere.
func makeToken(file string) error {
	b, err := diskfile.Read(file, 1<<10)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(strings.TrimSpace(string(b))) >= 16:
		return os.Chmod(file, 0o600)
	}
	return diskfile.Replace(file, []byte(rand.Text()+"\n"))
}
