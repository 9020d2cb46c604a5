package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/holdfast-go/holdfast/bench/internal/work"
	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/lock/replicalock"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

const (
	// engineReplica is the contenders themselves: each process is a member of the group that keeps the locks.
	engineReplica = "replica"
	// voters is how many of them have a vote: the first.
	voters = 3
)

// memberSpec is a process's part in the group.
type memberSpec struct {
	Name, Dir string
	Addrs     map[string]string // of all, by name
}

// group is the engine replica.
type group struct {
	dir   string
	addrs map[string]string
	wiped int
}

func memberName(process int) string { return fmt.Sprint("process-", process) }

func newGroup(dir string) (*group, error) {
	g := &group{dir: dir, addrs: make(map[string]string)}
	for i := range processes {
		addr, err := work.FreeAddr()
		if err != nil {
			return nil, err //nolint:wrapcheck // says it all
		}
		g.addrs[memberName(i)] = addr
	}
	return g, nil
}

// engine returns what can be done to the group: all that vote are killed at once, and of the disks one is emptied. More would
// be a majority, and no group founds itself anew then.
func (g *group) engine(all *[]*contenders) *engine {
	return &engine{
		member: func(process int) *memberSpec {
			name := memberName(process)
			return &memberSpec{Name: name, Dir: filepath.Join(g.dir, name), Addrs: g.addrs}
		},
		kill: func() {
			for _, p := range (*all)[:voters] {
				p.check()
				p.kill()
			}
		},
		wipe: func() error {
			g.wiped++
			return os.RemoveAll(filepath.Join(g.dir, memberName(g.wiped%voters)))
		},
		start: func(context.Context) error {
			for _, p := range (*all)[:voters] {
				if err := p.start(); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() {},
	}
}

// joinGroup makes this process a member. failed gets the end of it.
func joinGroup(s memberSpec, failed chan<- error) (driver.Engine, error) {
	var peers []replica.Peer
	for name, addr := range s.Addrs {
		peers = append(peers, replica.Peer{Name: name, Addr: addr})
	}
	var founders []string
	for i := range voters {
		founders = append(founders, memberName(i))
	}
	host, err := replica.NewHost(replica.Config{
		Name: s.Name, Dir: s.Dir, Addr: s.Addrs[s.Name], Peers: replica.Static(peers...), Members: voters, Founders: founders,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	store, err := kv.New(host, "locks", kv.Config{})
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	go func() { failed <- host.Run(context.Background()) }()
	go func() { failed <- store.Run(context.Background()) }()
	return replicalock.New(store, ""), nil
}
