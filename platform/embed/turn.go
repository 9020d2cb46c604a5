package embed

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

const (
	// turnWait bounds how long a member waits for the one before it.
	turnWait = time.Second
	turnTick = 10 * time.Millisecond
	turnAsk  = 200 * time.Millisecond
)

// waitTurn makes the members of a new cluster start one after another, in the order of their names. A member that starts
// for the first time asks each of the others whether it is known already. Members that start together ask when all of
// them listen and none answers yet, and time out, a second for each. It returns when the one before answers, after
// turnWait, or when ctx ends.
func waitTurn(ctx context.Context, cfg EtcdConfig) {
	names := slices.Sorted(maps.Keys(cfg.Cluster))
	i := slices.Index(names, cfg.Name)
	if i <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, turnWait*time.Duration(i))
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: turnAsk}
	tick := time.NewTicker(turnTick)
	defer tick.Stop()
	for !answers(ctx, &client, cfg.Cluster[names[i-1]]) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// answers reports whether the member at a peer address serves others.
func answers(ctx context.Context, client *http.Client, peer string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+peer+"/version", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	return true
}
