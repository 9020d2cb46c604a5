package natsqueue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/holdfast-go/holdfast/platform/embed"
)

// runChild is a process that is one server and nothing else.
func runChild() {
	var cfg embed.NATSConfig
	if err := json.Unmarshal([]byte(os.Getenv(childConfig)), &cfg); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	fmt.Println(embed.NewNATS(cfg).Run(context.Background()))
	os.Exit(1)
}
