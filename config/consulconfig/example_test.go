package consulconfig_test

import (
	"fmt"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/consulconfig"
)

// Opening makes no connection, so that a service starts while Consul is down.
func Example() {
	d, err := consulconfig.Open(consulconfig.Config{Agents: []string{"127.0.0.1:1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	store := config.New(d, config.Config{})
	defer store.Close()

	limit := config.NewValue(store, "limits/orders", 100, func(value []byte) (n int, err error) {
		_, err = fmt.Sscan(string(value), &n)
		return n, err
	})
	fmt.Println(limit.Get())
	// Output:
	// 100
}
