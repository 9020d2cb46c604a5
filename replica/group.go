package replica

import "context"

// Group is this process's member of a replicated machine. Safe for concurrent use.
type Group struct {
	name string
}

// ProposeOption changes a Propose.
type ProposeOption func(*proposeOptions)

type proposeOptions struct {
	once string
}

// Once gives a command a key of the caller's, of at most 256 bytes: of all commands proposed with that key, at whichever
// member and after any restart, only the first is applied, and all get its result. It is remembered for
// GroupConfig.KeyRetention, at most GroupConfig.Keys of them. "" is none.
func Once(key string) ProposeOption { return func(o *proposeOptions) { o.once = key } }

// Name returns the name given to Host.Group.
func (g *Group) Name() string { return g.name }

// Propose has command applied by all members and returns this one's result of it, or its error. The command must not be
// changed meanwhile. A ctx without deadline gets GroupConfig.Timeout. When ctx ends first, the error is
// DEADLINE_EXCEEDED, CANCELED or ErrNoQuorum, and the command may be applied all the same.
func (g *Group) Propose(ctx context.Context, command []byte, opts ...ProposeOption) (result []byte, err error) {
	panic("not yet")
}

// Read calls fn when the machine of this member is as current as level demands, and returns its error. fn may run beside
// Apply, and other reads. It is not called when Read fails.
func (g *Group) Read(ctx context.Context, level Level, fn func() error) error { panic("not yet") }

// Ready is closed when this member has a machine that is as current as the group was at some time since Run.
func (g *Group) Ready() <-chan struct{} { panic("not yet") }

// Status returns what this member knows.
func (g *Group) Status() Status { panic("not yet") }

// Leader returns the name of the leader, and whether it is this member. "" is that none is known.
func (g *Group) Leader() (name string, self bool) { panic("not yet") }

// Transfer hands leadership over to the member of that name, or to the one that is most up to date ("").
// It may be called on any member and returns when the other leads.
func (g *Group) Transfer(ctx context.Context, to string) error { panic("not yet") }

// AddMember makes the host of that name a member: as a learner, that votes once it has caught up (voter), or stays one.
// The host must be known to Peers, running, and have called Host.Group. It returns when it votes, or learns. It may be
// called on any member. For a host of the name of a member with another disk it replaces that.
func (g *Group) AddMember(ctx context.Context, name string, voter bool) error { panic("not yet") }

// RemoveMember ends the membership of the host of that name. What it has on its disk of the group is refused from then on.
func (g *Group) RemoveMember(ctx context.Context, name string) error { panic("not yet") }

// Leave stops this member and removes what it has on its disk. Remove the member before, or it counts as one that is down.
func (g *Group) Leave(ctx context.Context) error { panic("not yet") }
