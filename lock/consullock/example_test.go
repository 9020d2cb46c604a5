package consullock_test

import (
	"context"
	"log"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/consullock"
)

func Example() {
	engine, err := consullock.Open(consullock.Config{Agents: []string{"127.0.0.1:8500"}, TokenFile: "/run/secrets/consul"})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	locker := lock.New(engine, lock.Config{Name: "billing-1"})
	defer locker.Close()

	err = locker.Election("dispatcher").Lead(context.Background(), "10.0.0.7:8080", func(ctx context.Context, _ uint64) error {
		<-ctx.Done()
		return ctx.Err()
	})
	log.Print(err)
}
