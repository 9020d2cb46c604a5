// Package consullock keeps locks in Consul. A session is a Consul session that this process keeps alive; the tickets of a
// lock are keys that it has locked, in the order in which Consul created them, and go with it; who waits asks for the
// key before its own only. The lock itself is an ordinary Consul lock, which Consul's UI and tools show as one.
//
//	PREFIX/locks/NAME/queue/SESSION-TICKET   a place in a queue, locked by the session
//	PREFIX/locks/NAME/holder                 who holds, locked by the session
//	PREFIX/tokens/NNN                        the largest token given out of the locks whose names hash to NNN
//	PREFIX/guards/SESSION                    moves on when a request of unknown outcome is given up
//	PREFIX/epoch, PREFIX/settled             since when Consul remembers, and that it is long enough
//
// Sessions have no health checks: one that flaps would end them at once, while their holders believe otherwise. What can
// still end one before its time (its node leaves the cluster, a person) is what Consul's lock-delay is for: nobody gets a
// lock of a session that was ended before its holder's time was up in any case. A holder that cannot ask believes in its
// session for its TTL, so that the lock-delay bounds that: a TTL of more than a minute is made one of a minute.
package consullock

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/internal/consul"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// DefaultPrefix is where the keys are unless Config.Prefix says otherwise.
const DefaultPrefix = "holdfast/locks"

const (
	// buckets bounds what is remembered of locks that nobody wants any more: their tokens share these records.
	buckets = 1024
	// maxConflicts is how often a transaction is tried while others change what it is about.
	maxConflicts = 20
	// delayMax is the longest lock-delay that Consul has, delayMin the shortest that holders can keep to.
	delayMax = time.Minute
	delayMin = time.Second
	// ttlMin is Consul's session_ttl_min unless that is set, and ttlMax what it has no more than.
	ttlMin = 10 * time.Second
	ttlMax = 24 * time.Hour
)

// Config says where Consul is. Agents is required.
type Config struct {
	// Agents are host:port of agents of one datacenter, as a rule only the one of this machine. With more than one,
	// an agent that does not answer is left for the next within about a second (calls) or two and a half (waits).
	Agents []string
	// Datacenter is where the locks are; default: the agent's own. A lock has one datacenter.
	Datacenter string
	// Prefix is put before all keys; default DefaultPrefix.
	Prefix string
	// TLS for the connections to the agents. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Token is Consul's ACL token. It needs key:write on the prefix and session:write on the agent's node. TokenFile is a
	// file with the token instead, which is read again every few seconds.
	Token, TokenFile string
	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MinTTL is what the servers have as session_ttl_min; default 10 s, Consul's. Shorter TTLs are made as long.
	MinTTL time.Duration
	// LockDelay is Consul's, for sessions that did not end by themselves; default the TTL, at least a second and at most a
	// minute, negative for none. It makes the way from a holder that died to the next one longer, by itself. A holder that
	// cannot renew gives up in less than that, whatever its TTL. Without it, TTLs are at most a day, and a session that ends
	// before its time (see above) can leave two holders for a while, whom only their tokens tell apart.
	LockDelay time.Duration
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if err := c.client().Validate(); err != nil {
		errs = append(errs, err)
	}
	if strings.ContainsFunc(c.Prefix, func(r rune) bool { return !plain(byte(min(r, 0x7f))) && r != '/' && r != '.' }) ||
		strings.Contains("/"+c.Prefix+"/", "/./") || strings.Contains("/"+c.Prefix+"/", "/../") {
		errs = append(errs, fmt.Errorf("prefix %q: not letters, digits, '-', '_', '.' and '/'", c.Prefix))
	}
	if strings.ContainsFunc(c.Datacenter, func(r rune) bool { return !plain(byte(min(r, 0x7f))) }) {
		errs = append(errs, fmt.Errorf("datacenter %q: not letters, digits, '-' and '_'", c.Datacenter))
	}
	if c.LockDelay > 0 && c.LockDelay < delayMin {
		errs = append(errs, fmt.Errorf("lock delay %v: less than %v leaves no time to renew; negative is none", c.LockDelay, delayMin))
	}
	if c.LockDelay > delayMax {
		errs = append(errs, fmt.Errorf("lock delay %v: Consul has at most %v", c.LockDelay, delayMax))
	}
	if c.MinTTL < 0 {
		errs = append(errs, errors.New("minimal TTL: negative"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("consul locks: %w", errors.Join(errs...))
	}
	return nil
}

func (c Config) client() consul.Config {
	return consul.Config{Agents: c.Agents, TLS: c.TLS, Insecure: c.Insecure, Token: c.Token, TokenFile: c.TokenFile, Dial: c.Dial}
}

// Driver implements driver.Engine on Consul.
type Driver struct {
	cfg    Config
	prefix string
	client *consul.Client
}

// stored is the record of a bucket.
type stored struct {
	index uint64 // 0: there is none
	token uint64
}

// Open checks cfg and returns a Driver. It makes no connection, so that it works while Consul is dead.
func Open(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := consul.New(cfg.client())
	if err != nil {
		return nil, fmt.Errorf("consul locks: %w", err)
	}
	prefix := strings.Trim(cfg.Prefix, "/")
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if cfg.MinTTL == 0 {
		cfg.MinTTL = ttlMin
	}
	return &Driver{cfg: cfg, prefix: prefix, client: client}, nil
}

// Close implements driver.Engine.
func (d *Driver) Close() error { return d.client.Close() }

func plain(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '-' || b == '_'
}

// segment makes a name a part of a key that means nothing to URLs.
func segment(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if plain(name[i]) {
			b.WriteByte(name[i])
		} else {
			fmt.Fprintf(&b, "=%02X", name[i])
		}
	}
	return b.String()
}

func (d *Driver) lock(name string) string   { return d.prefix + "/locks/" + segment(name) }
func (d *Driver) queue(name string) string  { return d.lock(name) + "/queue/" }
func (d *Driver) holder(name string) string { return d.lock(name) + "/holder" }
func (d *Driver) epoch() string             { return d.prefix + "/epoch" }
func (d *Driver) settled() string           { return d.prefix + "/settled" }

// token is the key of the record that a lock shares with others.
func (d *Driver) token(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("%s/tokens/%03x", d.prefix, h.Sum32()%buckets)
}

func (d *Driver) query() url.Values {
	q := make(url.Values)
	if d.cfg.Datacenter != "" {
		q.Set("dc", d.cfg.Datacenter)
	}
	return q
}

// Open implements driver.Engine.
func (d *Driver) Open(ctx context.Context, ttl time.Duration, holder string) (driver.Session, error) {
	ttl = min(max(ttl, d.cfg.MinTTL), ttlMax)
	delay := d.cfg.LockDelay
	if delay == 0 {
		delay = min(ttl, delayMax)
	}
	granted := ttl
	if delay > 0 {
		// The session may end right after it was renewed, and its holder not hear of it: others wait for the delay, and no longer.
		granted = min(ttl, delay)
		ttl = max(granted, d.cfg.MinTTL)
	}
	request := struct {
		Name, TTL, Behavior, LockDelay    string
		Checks, NodeChecks, ServiceChecks []string
	}{holder, ttl.String(), "delete", max(0, delay).String(), []string{}, []string{}, []string{}}
	var answer struct{ ID string }
	err := d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		_, err := a.Put(ctx, "/v1/session/create", d.query(), request, &answer)
		return err
	})
	if err == nil && (answer.ID == "" || strings.ContainsFunc(answer.ID, func(r rune) bool { return !plain(byte(min(r, 0x7f))) })) {
		err = errors.New("the answer has no session")
	}
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	return &session{d: d, id: answer.ID, holder: holder, ttl: granted, tickets: make(map[string]*ticket), tokens: make(map[string]stored)}, nil
}

// pair is a key as Consul answers it.
type pair struct {
	Key                      string
	Value                    []byte
	Session                  string
	CreateIndex, ModifyIndex uint64
}

// get reads a key from a leader that knows that it is one. found is false when it is not there.
func (d *Driver) get(ctx context.Context, a *consul.Agent, key string) (p pair, index uint64, found bool, err error) {
	pairs, index, err := d.read(ctx, a, key, false)
	if err != nil || len(pairs) == 0 {
		return pair{}, index, false, err
	}
	return pairs[0], index, true, nil
}

func (d *Driver) read(ctx context.Context, a *consul.Agent, key string, below bool) (pairs []pair, index uint64, err error) {
	q := d.query()
	q.Set("consistent", "")
	if below {
		q.Set("recurse", "true")
	}
	m, err := a.Get(ctx, "/v1/kv/"+key, q, &pairs)
	if consul.Is(err, http.StatusNotFound) && m.Index > 0 { // without an index it is not Consul that says so
		if m.Filtered || m.Nameless {
			return nil, 0, errMayNotRead
		}
		return nil, m.Index, nil
	}
	return pairs, m.Index, err
}

var errMayNotRead = errors.New("nothing there, or the token may not read it")

// record is the value of a holder's key.
type record struct {
	Token  uint64 `json:"token"`
	Name   string `json:"name,omitempty"`
	Value  string `json:"value,omitempty"`
	Ticket string `json:"ticket"`
}

// maxRecord bounds what is read as one: twice what package lock writes, each byte of it escaped.
const maxRecord = 128 << 10

// decode reads what somebody may have written by hand: what cannot be read is nobody.
func decode(b []byte) record {
	var r record
	if len(b) > maxRecord || json.Unmarshal(b, &r) != nil || r.Token == 0 {
		return record{}
	}
	return r
}

// decodeToken reads the record of a bucket. One that cannot be read counts as none: the clock is the floor then, as it is
// after a loss of all.
func decodeToken(b []byte) uint64 {
	token, err := strconv.ParseUint(string(b), 10, 63)
	if err != nil {
		return 0
	}
	return token
}

// Holder implements driver.Engine.
func (d *Driver) Holder(ctx context.Context, name string) (h driver.Holder, revision uint64, err error) {
	err = d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		p, index, _, err := d.get(ctx, a, d.holder(name))
		if err != nil {
			return err
		}
		h, revision = driver.Holder{}, index
		if r := decode(p.Value); p.Session != "" {
			h = driver.Holder{Name: r.Name, Value: r.Value, Token: r.Token}
		}
		return nil
	})
	if err != nil {
		return driver.Holder{}, 0, fmt.Errorf("holder of %s: %w", name, err)
	}
	return h, revision, nil
}

// Await implements driver.Engine, by a blocking query.
func (d *Driver) Await(ctx context.Context, name string, revision uint64) error {
	if err := d.change(ctx, d.holder(name), revision); err != nil {
		return fmt.Errorf("await %s: %w", name, err)
	}
	return nil
}

// change waits until a key is not what it was at an index.
func (d *Driver) change(ctx context.Context, key string, index uint64) error {
	q, err := d.client.Query(ctx, "/v1/kv/"+key, d.query(), index)
	if err != nil {
		return err
	}
	defer q.Close()
	_, err = q.Next(ctx, func() any { return new([]pair) })
	return err
}

// Epoch implements driver.Engine.
func (d *Driver) Epoch(ctx context.Context) (out driver.Epoch, err error) {
	id := rand.Text()
	err = d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		for range maxConflicts {
			p, _, found, err := d.get(ctx, a, d.epoch())
			if err != nil {
				return err
			}
			if found {
				out.ID = string(p.Value)
				_, _, out.Settled, err = d.get(ctx, a, d.settled())
				return err
			}
			_, c, err := d.transact(ctx, a, kv{Verb: "cas", Key: d.epoch(), Value: []byte(id)}, kv{Verb: "delete", Key: d.settled()})
			if err != nil || c == nil {
				out = driver.Epoch{ID: id}
				return err
			}
			if !c.about(0) {
				return c
			}
		}
		return errConflicts
	})
	if err != nil {
		return driver.Epoch{}, fmt.Errorf("epoch: %w", err)
	}
	return out, nil
}

// Settle implements driver.Engine.
func (d *Driver) Settle(ctx context.Context, id string) error {
	err := d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		p, _, found, err := d.get(ctx, a, d.epoch())
		if err != nil || !found || string(p.Value) != id {
			return err
		}
		_, c, err := d.transact(ctx, a,
			kv{Verb: "check-index", Key: d.epoch(), Index: p.ModifyIndex}, kv{Verb: "set", Key: d.settled(), Value: []byte(id)})
		if c != nil && !c.about(0) {
			return c
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}
