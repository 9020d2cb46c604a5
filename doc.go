// Package holdfast puts a service together: listeners, registry, clients, background tasks, one start and one drain.
//
//	func main() {
//		svc := holdfast.New("inventory")
//		inventorypb.RegisterInventoryServer(svc, &server{})
//		svc.Handle("/", engine)
//		catalog := catalogpb.NewCatalogClient(svc.Dial("catalog"))
//		svc.Go("reindex", func(ctx context.Context) error { … })
//		svc.Lead("nightly", func(ctx context.Context) error { … }) // on one instance at a time
//		svc.Consume("orders.paid", "", queue.Handle(reserve), queue.SubscriptionConfig{})
//		holdfast.Main(svc)
//	}
//
// It is sugar and nothing else: rpc, rest, registry and lifecycle do the work and can be had without it.
//
// # Settings
//
// What differs between places comes from the environment, and options of New may change it:
//
//	variable               default       meaning
//	HOLDFAST_REGISTRY      (memory)      etcd://HOST:PORT,HOST:PORT[/PREFIX], static:SERVICE=HOST:PORT,…;…, or one of Drivers
//	HOLDFAST_CONFIG        (registry's)  where live settings are: etcd://HOST:PORT,HOST:PORT[/PREFIX], file:DIR, one of Drivers, or none
//	HOLDFAST_LOCK          (registry's)  where locks are kept: etcd://HOST:PORT,HOST:PORT[/PREFIX], one of Drivers, replica, or memory
//	HOLDFAST_QUEUE         (memory)      where messages are kept: nats://HOST:PORT,HOST:PORT[/PREFIX], one of Drivers, or memory, to be said where there is a registry
//	HOLDFAST_POLICIES      (none)        file or directory with policies of services
//	HOLDFAST_INSTANCE      (made up)     id of this instance, unique within its service
//	HOLDFAST_GRPC_ADDR     127.0.0.1:0   where to serve gRPC; port 0 is any free one
//	HOLDFAST_HTTP_ADDR     127.0.0.1:0   where to serve HTTP; port 0 is any free one
//	HOLDFAST_REPLICA_ADDR  127.0.0.1:0   where to listen for the other members of replicated state
//	HOLDFAST_MEMBERS       (3)           how many instances found replicated state; 1 without a registry
//	HOLDFAST_FOUNDERS      (the first)   instances that found replicated state, as many as members: ID,ID,ID
//	HOLDFAST_ADVERTISE     (found out)   host by which others reach this instance
//	HOLDFAST_DATA_DIR      (none)        directory for what should outlive the process
//	HOLDFAST_ZONE          (none)        where this instance runs, for balancing and for people
//	HOLDFAST_VERSION       (none)        what this instance is, for people
//	HOLDFAST_DRAIN_DELAY   2s            time for clients to notice that this instance stops
//	HOLDFAST_LOG           text          text or json
//	HOLDFAST_LOG_LEVEL     info          debug, info, warn or error
//	HOLDFAST_INSECURE      false         allow plaintext beyond loopback
//	HOLDFAST_ADMIN_ADDR    127.0.0.1:0   where to look at the process: health, metrics, profiles, settings, state; or none
//	HOLDFAST_AGENT         (none)        socket of the platform, which sets it, for drills and autoscaling
package holdfast
