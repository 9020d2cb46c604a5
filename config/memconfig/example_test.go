package memconfig_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/memconfig"
)

// A test gives its services settings, right and wrong ones.
func Example() {
	store := config.New(memconfig.New(), config.Config{Logger: slog.New(slog.DiscardHandler)})
	defer store.Close()
	greetings := config.Follow(store, "greetings/", func(_ string, value []byte) (string, error) {
		if len(value) == 0 {
			return "", errors.New("a greeting has at least one letter")
		}
		return string(value), nil
	})

	ctx := context.Background()
	for _, value := range []string{"Ahoy", ""} {
		if _, err := store.Put(ctx, "greetings/hello", []byte(value)); err != nil {
			fmt.Println(err)
			return
		}
		for {
			set, err := greetings.Next(ctx)
			if err != nil {
				fmt.Println(err)
				return
			}
			if s := set.Settings["greetings/hello"]; s.Value != "" && (value != "" || s.Refused != nil) {
				fmt.Println(s.Value, s.Refused)
				break
			}
		}
	}
	// Output:
	// Ahoy <nil>
	// Ahoy a greeting has at least one letter
}
