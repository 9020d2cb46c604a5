//go:build unix

package host

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
)

// etcd is the protocol under which a member's client address is listed.
const etcd = "etcd"

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
			ID:    id,
			Addrs: map[string]string{etcd: addrs[id+" client"]},
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

// memberReady asks a member whether it has a leader and no alarm.
func memberReady(ctx context.Context, addrs map[string]string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addrs[etcd]+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := probe.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("member at %s: %s", addrs[etcd], resp.Status)
	}
	return nil
}

// probe keeps no connections: a member that is killed should not be asked over an old one.
var probe = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
