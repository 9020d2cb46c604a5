package kubernetes_test

import (
	"fmt"
	"os"

	"github.com/holdfast-go/holdfast/platform/kubernetes"
	"github.com/holdfast-go/holdfast/platform/system"
)

func Example() {
	sys, err := system.Load("../../examples/greeter")
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := kubernetes.New(sys, kubernetes.Options{
		Image: "registry.example.com/{service}:1.0", Registry: "etcd://etcd:2379", Queue: system.NoQueue, Insecure: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, note := range e.Notes {
		fmt.Fprintln(os.Stderr, note)
	}
	fmt.Println(len(e.Objects), "objects")
	// Output: 9 objects
}
