package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

// A store of one member, which survives a restart of its process but not the loss of its disk: for development. With
// Members: 3 and Peers, three processes of this program are one store.
func Example() {
	dir, err := os.MkdirTemp("", "kv-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	host, err := replica.NewHost(replica.Config{Name: "settings-1", Dir: dir, Members: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := kv.New(host, "settings", kv.Config{})
	if err != nil {
		fmt.Println(errors.Join(err, host.Close()))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan error)
	running, stop := context.WithCancel(ctx)
	go func() { done <- host.Run(running) }() // in a program: lifecycle.Run(ctx, host, store, server)

	first, err := store.Put(ctx, "color", []byte("blue"))
	fmt.Println("put:", first, err)
	item, ok, err := store.Get(ctx, replica.Linearizable, "color")
	fmt.Printf("get: %s %v %v\n", item.Value, ok, err)
	_, err = store.CompareAndSwap(ctx, "color", item.Revision, []byte("green"))
	fmt.Println("swap:", err)
	_, err = store.CompareAndSwap(ctx, "color", item.Revision, []byte("red"))
	fmt.Println("swap again:", errors.Is(err, kv.ErrConflict))

	stop()
	fmt.Println("stopped:", <-done)
	// Output:
	// put: 1 <nil>
	// get: blue true <nil>
	// swap: <nil>
	// swap again: true
	// stopped: <nil>
}

// A follower keeps a copy of some keys, whatever happens to leaders and connections.
func ExampleStore_Follow() {
	follow := func(ctx context.Context, store *kv.Store, changed func(key, value string), gone func(key string), reset func()) error {
		for change, err := range store.Follow(ctx, replica.Linearizable, "settings/") {
			if err != nil {
				return err
			}
			if change.Reset {
				reset()
			}
			for _, item := range change.Items {
				changed(item.Key, string(item.Value))
			}
			for _, e := range change.Events {
				if e.Type == kv.Put {
					changed(e.Item.Key, string(e.Item.Value))
				} else {
					gone(e.Item.Key)
				}
			}
		}
		return nil
	}
	_ = follow
}
