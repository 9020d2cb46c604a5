//go:build unix

package host

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
)

// chooseMembers gives each control member its addresses, the same as in the last run on the same data, and returns
// them with the URL of the registry that they are.
func chooseMembers(data string, n int) (members []supervise.Member, url string, err error) {
	var names []string
	for i := range n {
		id := fmt.Sprintf("%s-%d", control.ControlService, i+1)
		names = append(names, id+" client", id+" peer")
	}
	addrs, err := supervise.Addresses(filepath.Join(data, "control", "addresses.json"), names...)
	if err != nil {
		return nil, "", fmt.Errorf("choose addresses of control members: %w", err)
	}
	var cluster, clients []string
	for i := range n {
		id := fmt.Sprintf("%s-%d", control.ControlService, i+1)
		cluster = append(cluster, id+"="+addrs[id+" peer"])
		clients = append(clients, addrs[id+" client"])
	}
	for i := range n {
		id := fmt.Sprintf("%s-%d", control.ControlService, i+1)
		members = append(members, supervise.Member{
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
		})
	}
	return members, "etcd://" + strings.Join(clients, ","), nil
}
