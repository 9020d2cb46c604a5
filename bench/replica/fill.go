package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// fill writes every key once.
func fill(ctx context.Context, c *cluster) error { return writeMany(ctx, c, keyCount, value) }

// writeMany makes n writes, over all keys in turn, from 64 clients spread over the members.
func writeMany(ctx context.Context, c *cluster, n int, value string) error {
	const clients = 64
	names := keyNames()
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		at := c.conns[i%len(c.conns)]
		wg.Go(func() {
			for k := i; k < n; k += clients {
				if err := at.put(ctx, names[k%keyCount], value); err != nil {
					errs[i] = fmt.Errorf("%s: write %d of %d: %w", c.engine, k, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
