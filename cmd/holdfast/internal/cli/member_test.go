//go:build unix

package cli_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	natsclient "github.com/nats-io/nats.go"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A port that is taken, and a token that is not there, keep NATS away and nothing else: etcd serves, and NATS comes when
// it can.
func TestMemberServesEtcdWithoutNATS(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	client, peer, queue := freeAddr(t), freeAddr(t), taken.Addr().String()
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	var log buffer
	member := exec.Command(os.Args[0], append(selfArgs, "member", "--name", "one", "--data", filepath.Join(dir, "one"), "--client", client, //nolint:gosec // this program
		"--peer", peer, "--cluster", "one="+peer, "--queue", queue, "--queue-token-file", token)...)
	member.Stderr = &log
	if err := member.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = member.Process.Signal(syscall.SIGTERM)
		if err := member.Wait(); err != nil {
			t.Errorf("%v: %s", err, log.String())
		}
	})
	eventually := func(what string, ok func() bool) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for begun := time.Now(); !ok(); <-tick.C {
			if time.Since(begun) > 30*time.Second {
				t.Fatalf("not %s: %s", what, log.String())
			}
		}
	}
	logs := func(text string) func() bool { return func() bool { return strings.Contains(log.String(), text) } }
	eventually("without a token", logs("token of the queue"))
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually("without a port", logs("taken by another process"))
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{client}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	if _, err := etcd.Put(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
	taken.Close()
	eventually("there when it can be", func() bool {
		c, err := natsclient.Connect("nats://"+queue, natsclient.Token("secret"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if _, err := etcd.Get(t.Context(), "k"); err != nil {
		t.Error(err)
	}
}
