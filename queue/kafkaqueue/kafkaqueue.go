// Package kafkaqueue keeps messages in Kafka. A topic is a topic of Kafka's, a group of it is a consumer group of
// Kafka's called TOPIC/GROUP, and has two topics more:
//
//	TOPIC                the messages of all groups; key decides the partition
//	TOPIC.GROUP.again    what is for this group alone: returned for later, replayed
//	TOPIC.GROUP.dead     its dead letters, compacted: a letter that is exhumed gets a tombstone
//
// Offsets are committed behind what is settled, not behind what is received: the offset of a partition is the first that
// is not settled, and what is settled beyond it stands in the metadata of the commit, so that the next owner of the
// partition leaves it out. A message that takes long holds up nothing but itself.
package kafkaqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"golang.org/x/sync/semaphore"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	defaultPartitions = 12
	againPartitions   = 4
	defaultMessage    = 896 << 10
	// headroom is for key, headers and the batch around a message: driver's bounds, all of them percent-encoded, and
	// together with defaultMessage not more than a broker takes that nobody has configured.
	headroom = 126 << 10
	// brokerMessage is the most bytes of a batch that a broker takes unless a topic says otherwise.
	brokerMessage = 1_048_588

	dialTimeout    = 3 * time.Second // TCP's own is minutes
	requestTimeout = 5 * time.Second // beyond what the broker is told to wait, for the network and a broker that hangs
	produceTimeout = 5 * time.Second
	// deliveryTimeout is for how long a message waits in the producer for a broker to send it to. Who published it has
	// mostly given up by then, and would find it twice.
	deliveryTimeout = 10 * time.Second
	// maxBuffered is the most bytes, and a sixteenth of a KiB of overhead each, that wait to be confirmed.
	maxBuffered = 64 << 20
	minMetadata = 500 * time.Millisecond
	maxMetadata = time.Minute
	maxBackoff  = 2 * time.Second

	minSession = 6 * time.Second // brokers refuse less unless they are told not to
	maxSession = 10 * time.Second
	revokeWait = 10 * time.Second
)

// Config says where Kafka is. Brokers is required.
type Config struct {
	// Brokers are host:port of some brokers; the others are learnt from them.
	Brokers []string
	// TLS for the connections. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Mechanism is that of SASL: "plain", "scram-sha-256" or "scram-sha-512"; default plain, and none without a Username.
	Mechanism          string
	Username, Password string
	// Name is this client's in the broker's logs and metrics.
	Name string
	// Partitions of topics that are created without a number; default 12. More cost the broker, fewer are fewer instances.
	Partitions int
	// Replicas of topics that are created without a number; default 3, or as many as a cluster of fewer brokers has, but not
	// fewer than Brokers (up to 3): with fewer of them, and with fewer than a number that is given, a topic is not created.
	// A majority of them must have a message before it is confirmed.
	Replicas int
	// MaxMessage is the most bytes of data; default 896 KiB, which brokers take unless they are told not to. For more,
	// topics are created with a limit of their own, and the broker's limits on requests have to allow it.
	MaxMessage int
	// Session is for how long the group waits for an instance that is not heard of; default is a Subscription's Hold, at
	// least 6 s (brokers refuse less: group.min.session.timeout.ms) and at most 10 s.
	Session time.Duration
	// RevokeWait is for how long deliveries of a partition that is about to be given to another instance may go on;
	// default 10 s. What is not settled then is delivered again.
	RevokeWait time.Duration
	// Logger takes what the client has to say; nil discards it.
	Logger *slog.Logger
	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil. With TLS, that is spoken on what it makes.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	useTLS       bool
	caFile       string
	passwordFile string
}

// Driver implements driver.Engine on Kafka.
type Driver struct {
	cfg      Config
	common   []kgo.Opt
	producer *kgo.Client
	requests *kgo.Client // apart, so that a large batch keeps no question waiting
	admin    *kadm.Client
	life     context.Context // of both
	quit     context.CancelFunc
	asking   chan struct{} // one for each question under way
	buffered *semaphore.Weighted
	sendings sync.Pool

	mu        sync.Mutex
	known     map[string]bool // topics that are there, as far as we know
	declared  map[string]driver.Topic
	receivers map[*receiver]struct{}
	claims    map[claim]bool
	dead      map[string]*letters // by the name of the topic of dead letters
	closed    bool
}

// Open checks cfg and returns a Driver. It makes no connection, so that it works while Kafka is dead.
func Open(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.load(); err != nil {
		return nil, fmt.Errorf("kafka queue: %w", err)
	}
	cfg.defaults()
	d := &Driver{
		cfg: cfg, known: make(map[string]bool), declared: make(map[string]driver.Topic), receivers: make(map[*receiver]struct{}), claims: make(map[claim]bool), dead: make(map[string]*letters),
		buffered: semaphore.NewWeighted(maxBuffered), asking: make(chan struct{}, maxAsking),
	}
	d.common = d.options()
	life, quit := context.WithCancel(context.Background())
	d.life, d.quit = life, quit
	own := append([]kgo.Opt{kgo.WithContext(life)}, d.common...)
	var err error
	if d.producer, err = kgo.NewClient(append(d.producing(), own...)...); err != nil {
		quit()
		return nil, fmt.Errorf("kafka queue: %w", err)
	}
	if d.requests, err = kgo.NewClient(own...); err != nil {
		quit()
		d.producer.Close()
		return nil, fmt.Errorf("kafka queue: %w", err)
	}
	d.admin = kadm.NewClient(d.requests)
	return d, nil
}

func (c *Config) defaults() {
	if c.Partitions == 0 {
		c.Partitions = defaultPartitions
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = defaultMessage
	}
	if c.RevokeWait == 0 {
		c.RevokeWait = revokeWait
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Name == "" {
		c.Name = "holdfast"
	}
}

// options are those of all clients.
func (d *Driver) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(d.cfg.Brokers...), kgo.ClientID(d.cfg.Name), kgo.SoftwareNameAndVersion("holdfast", "1"),
		kgo.Dialer(d.cfg.dial()), kgo.RequestTimeoutOverhead(requestTimeout), kgo.RetryBackoffFn(backoff),
		kgo.MetadataMinAge(minMetadata), kgo.MetadataMaxAge(maxMetadata), kgo.DisableClientMetrics(), kgo.AlwaysRetryEOF(),
		kgo.WithLogger(logger{d.cfg.Logger}),
	}
	if m := d.cfg.mechanism(); m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts
}

func (c Config) mechanism() sasl.Mechanism {
	if c.Username == "" {
		return nil
	}
	switch c.Mechanism {
	case "scram-sha-256":
		return scram.Auth{User: c.Username, Pass: c.Password}.AsSha256Mechanism()
	case "scram-sha-512":
		return scram.Auth{User: c.Username, Pass: c.Password}.AsSha512Mechanism()
	}
	return plain.Auth{User: c.Username, Pass: c.Password}.AsMechanism()
}

// Capabilities implements driver.Engine.
func (d *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{Ordered: true, Delay: true, Retains: true, MaxMessage: d.cfg.MaxMessage}
}

// Close implements driver.Engine.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	var rs []*receiver
	for r := range d.receivers {
		rs = append(rs, r)
	}
	d.mu.Unlock()
	var wg sync.WaitGroup
	for _, r := range rs {
		wg.Go(func() { _ = r.Close() }) // which returns none
	}
	wg.Wait()
	d.quit()
	d.producer.Close()
	d.requests.Close()
	d.asked()
	return nil
}

var errClosed = errors.New("kafka queue: closed")
