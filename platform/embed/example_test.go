package embed_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/platform/embed"
)

// A member of a cluster of one, until ctx ends.
func ExampleEtcd() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	member := embed.NewEtcd(embed.EtcdConfig{
		Name: "control-1", DataDir: dir, ClientAddr: "127.0.0.1:13790", PeerAddr: "127.0.0.1:13800",
		Logger: slog.Default(), // gets warnings
	})
	go func() {
		<-member.Ready()
		fmt.Println("ready")
		cancel()
	}()
	fmt.Println(lifecycle.Config{DrainDelay: -1, Logger: slog.New(slog.DiscardHandler)}.Run(ctx, member))
	// Output:
	// ready
	// <nil>
}
