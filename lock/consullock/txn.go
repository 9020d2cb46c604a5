package consullock

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/internal/consul"
)

var errConflicts = errors.New("keys keep changing")

// kv is one step of a transaction.
type kv struct {
	Verb    string
	Key     string
	Value   []byte `json:",omitempty"`
	Session string `json:",omitempty"`
	Index   uint64
}

// conflict is why a transaction did not hold.
type conflict struct {
	step int // the first that failed; -1 if Consul did not say
	what string
}

func (c *conflict) Error() string {
	return fmt.Sprintf("step %d of the transaction: %s", c.step, c.what)
}

// about reports whether it was that step, and not for a want of rights.
func (c *conflict) about(step int) bool {
	return c.step == step && !strings.Contains(strings.ToLower(c.what), "permission denied")
}

// noSession reports whether Consul does not know the session.
func (c *conflict) noSession() bool {
	return strings.Contains(strings.ToLower(c.what), "invalid session")
}

// transact runs steps as one. What it did not hold for is the conflict, which is no error.
func (d *Driver) transact(ctx context.Context, a *consul.Agent, steps ...kv) (out []pair, c *conflict, err error) {
	type operation struct{ KV kv }
	ops := make([]operation, len(steps))
	for i, s := range steps {
		ops[i].KV = s
	}
	var answer struct{ Results []struct{ KV pair } }
	_, err = a.Put(ctx, "/v1/txn", d.query(), ops, &answer)
	var status *consul.StatusError
	if errors.As(err, &status) && status.Code == http.StatusConflict {
		return nil, parseConflict(status.Reason), nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, r := range answer.Results {
		out = append(out, r.KV)
	}
	return out, nil, nil
}

// parseConflict reads {"Results":null,"Errors":[{"OpIndex":1,"What":"…"}]}, of which the end may be missing.
func parseConflict(reason string) *conflict {
	c := &conflict{step: -1, what: reason}
	if _, rest, ok := strings.Cut(reason, `"OpIndex":`); ok {
		digits, _, _ := strings.Cut(strings.TrimSpace(rest), ",")
		if n, err := strconv.Atoi(strings.TrimSpace(digits)); err == nil && n >= 0 {
			c.step = n
		}
	}
	return c
}

// of returns the result for a key; a transaction's results are those of the steps that have one.
func of(results []pair, key string) pair {
	for i := len(results) - 1; i >= 0; i-- {
		if results[i].Key == key {
			return results[i]
		}
	}
	return pair{}
}
