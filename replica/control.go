package replica

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/found"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
	"github.com/holdfast-go/holdfast/replica/internal/transport"
)

// What hosts ask each other, in JSON.
const (
	methodHello    = "hello"
	methodJoin     = "join"
	methodAdd      = "add"
	methodRemove   = "remove"
	methodReplace  = "replace"
	methodTransfer = "transfer"
)

const (
	pollFast   = 50 * time.Millisecond
	pollSlow   = 500 * time.Millisecond
	pollIdle   = 5 * time.Second
	askTimeout = 2 * time.Second
	// maxAnswer bounds what another host says of itself.
	maxAnswer = 8 << 20
)

// helloAnswer is what a host says of itself: only what is on its disk already.
type helloAnswer struct {
	Name   string       `json:"name"`
	Groups []helloGroup `json:"groups"`
}

type helloGroup struct {
	Group uint64 `json:"group"`
	record
	Leading bool          `json:"leading,omitempty"`
	Applied uint64        `json:"applied,omitempty"`
	Commit  uint64        `json:"commit,omitempty"`
	Table   []*memberName `json:"table,omitempty"`
	// Learners are the IDs of those of Table that do not vote. An older program says nothing of it: then all may.
	Learners []uint64 `json:"learners,omitempty"`
}

// handler is a Host as its transport knows it.
type handler Host

func (h *handler) host() *Host { return (*Host)(h) }

// Receive implements transport.Handler.
func (h *handler) Receive(from string, a transport.Address, body []byte) {
	if g := h.host().group(a.Group); g != nil {
		if m := g.member.Load(); m != nil {
			m.heard(from, a, body)
		}
	}
}

// Accept implements transport.Handler.
func (h *handler) Accept(_ string, a transport.Address, id snap.ID) error {
	g := h.host().group(a.Group)
	if g == nil {
		return ErrNotMember.With("there is no such group here")
	}
	m := g.member.Load()
	if m == nil {
		return ErrNotMember.With("this host is not a member yet")
	}
	return m.accept(a, id)
}

// Installed implements transport.Handler.
func (h *handler) Installed(from string, a transport.Address, id snap.ID, body []byte) error {
	if g := h.host().group(a.Group); g != nil {
		if m := g.member.Load(); m != nil {
			return m.installed(from, a, id, body)
		}
	}
	return ErrNotMember.With("this host is not a member any more")
}

// Up implements transport.Handler.
func (h *handler) Up(string) { h.host().pollSoon() }

// Down implements transport.Handler.
func (h *handler) Down(host string, gone bool) {
	if !gone {
		return
	}
	for _, g := range h.host().Groups() {
		if m := g.member.Load(); m != nil {
			m.down(host)
		}
	}
}

// Call implements transport.Handler.
func (h *handler) Call(ctx context.Context, from, method string, request []byte) ([]byte, error) {
	if method == methodHello {
		return json.Marshal(h.host().hello())
	}
	var id struct {
		Group uint64 `json:"group"`
	}
	if err := json.Unmarshal(request, &id); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "a request that cannot be read")
	}
	g := h.host().group(id.Group)
	if g == nil {
		return nil, ErrNotMember.With("there is no such group here")
	}
	if method == methodJoin {
		var r joinRequest
		if err := json.Unmarshal(request, &r); err != nil || r.Name != from {
			return nil, failure.New(failure.InvalidArgument, "a host asks for itself only")
		}
		return nil, g.admit(ctx, r.Cluster, core.MemberInfo{ID: r.ID, Name: r.Name, Addr: h.net.Addr(r.Name)})
	}
	var r changeRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "a request that cannot be read")
	}
	a, err := g.change(ctx, method, r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// ask asks another host and reads its answer into answer, which may be nil.
func (h *Host) ask(ctx context.Context, host, method string, request, answer any) error {
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	out, err := h.net.Call(ctx, host, method, b)
	if err != nil {
		return failure.From(err) // with the reason that the other side gave
	}
	if answer == nil || len(out) == 0 { // or whoever answers is of before there was one
		return nil
	}
	if len(out) > maxAnswer {
		return fmt.Errorf("%s of %s: %d bytes", method, host, len(out))
	}
	return json.Unmarshal(out, answer)
}

// hello is what this host says of itself.
func (h *Host) hello() helloAnswer {
	a := helloAnswer{Name: h.cfg.Name}
	for _, g := range h.Groups() {
		if s, ok := g.hello(); ok {
			a.Groups = append(a.Groups, s)
		}
	}
	return a
}

func (g *Group) hello() (helloGroup, bool) {
	g.mu.Lock()
	failed := g.err != nil
	s := helloGroup{Group: g.id}
	if g.found == nil || failed {
		g.mu.Unlock()
		return s, false
	}
	s.record = newRecord(g.self, g.state)
	g.mu.Unlock()
	m := g.member.Load()
	if m == nil {
		return s, true
	}
	// In this order: the table is of an index between the two.
	before := m.core.Status()
	for _, i := range m.applier.Members() {
		s.Table = append(s.Table, &memberName{i.Name, i.ID})
		if i.Learner {
			s.Learners = append(s.Learners, i.ID)
		}
	}
	s.Applied, s.Commit, s.Leading = before.Applied, m.core.Status().Commit, before.Leader == m.id
	return s, true
}

// peer returns what a host has said of one of its groups.
func (s helloGroup) peer(host string) (*found.Peer, error) {
	state, err := s.state()
	if err != nil {
		return nil, err
	}
	p := &found.Peer{Member: found.Member{Name: host, ID: s.ID}, State: state, Leading: s.Leading, Applied: s.Applied, Commit: s.Commit, Learners: s.Learners}
	if n := max(len(s.Table), len(s.Learners)); n > 1024 {
		return nil, fmt.Errorf("a table of %d members", n)
	}
	for _, m := range s.Table {
		if m != nil {
			p.Table = append(p.Table, found.Member{Name: m.Name, ID: m.ID})
		}
	}
	return p, nil
}

// follow keeps to what discovery says about the other hosts.
func (h *Host) follow(ctx context.Context) {
	err := h.cfg.Peers.Watch(ctx, func(peers []Peer) { h.found(ctx, peers) })
	if err != nil && ctx.Err() == nil {
		h.log.Error("other hosts are not looked for any more", "host", h.cfg.Name, "error", err)
	}
	<-ctx.Done()
}

// maxPeers bounds the hosts that are followed, whatever discovery says.
const maxPeers = 256

func (h *Host) found(ctx context.Context, peers []Peer) {
	peers = slices.Clone(peers)
	peers = slices.DeleteFunc(peers, func(p Peer) bool { return p.Name == h.cfg.Name || p.Addr == "" || ValidateName(p.Name) != nil })
	slices.SortStableFunc(peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	peers = slices.CompactFunc(peers, func(a, b Peer) bool { return a.Name == b.Name })
	// A member that discovery has lost, such as one that a registry has not heard from, is a member all the same.
	for _, old := range h.known() {
		if !slices.ContainsFunc(peers, func(p Peer) bool { return p.Name == old.Name }) && h.counts(old.Name) {
			peers = append(peers, old)
		}
	}
	if len(peers) > maxPeers {
		slices.SortStableFunc(peers, func(a, b Peer) int { // members before all others
			return cmp.Compare(h.weight(a.Name), h.weight(b.Name))
		})
		h.log.Warn("there are more hosts than are followed", "hosts", len(peers), "followed", maxPeers)
		peers = peers[:maxPeers]
	}
	hosts := make([]transport.Host, 0, len(peers))
	for _, p := range peers {
		hosts = append(hosts, transport.Host{Name: p.Name, Addr: p.Addr})
	}
	h.net.Follow(hosts)
	h.mu.Lock()
	h.peers = peers
	for name, stop := range h.polls {
		if !slices.ContainsFunc(peers, func(p Peer) bool { return p.Name == name }) {
			stop()
			delete(h.polls, name)
		}
	}
	for _, p := range peers {
		if h.polls[p.Name] == nil {
			pollCtx, cancel := context.WithCancel(ctx)
			h.polls[p.Name] = cancel
			h.work.Go(func() { h.poll(pollCtx, p.Name) })
		}
	}
	h.mu.Unlock()
	for _, g := range h.Groups() {
		g.about(h.names())
	}
}

// weight is less for hosts that are needed.
func (h *Host) weight(name string) int {
	if h.counts(name) || slices.Contains(h.cfg.Founders, name) {
		return 0
	}
	return 1
}

// counts reports whether a host is a member of a group.
func (h *Host) counts(name string) bool {
	for _, g := range h.Groups() {
		if m := g.member.Load(); m != nil && slices.ContainsFunc(m.applier.Members(), func(i core.MemberInfo) bool { return i.Name == name }) {
			return true
		}
	}
	return false
}

// known returns the hosts that are followed.
func (h *Host) known() []Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.peers
}

func (h *Host) names() []string {
	peers := h.known()
	names := make([]string, 0, len(peers))
	for _, p := range peers {
		names = append(names, p.Name)
	}
	return names
}

// heardOf tells a group that was just made who is about.
func (h *Host) heardOf(g *Group) {
	g.about(h.names())
	h.announceNews()
}

// announceNews makes all polls ask again soon: what this host has to say may be what others wait for, too.
func (h *Host) announceNews() { h.pollSoon() }

func (h *Host) pollSoon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.polling)
	h.polling = make(chan struct{})
}

// poll asks one host, again and again: often while a group waits for something. One question at a time, so that answers
// are in the order of what they tell of.
func (h *Host) poll(ctx context.Context, name string) {
	every := pollFast
	for ctx.Err() == nil {
		h.mu.Lock()
		soon := h.polling
		h.mu.Unlock()
		asked, cancel := context.WithTimeout(ctx, askTimeout)
		var a helloAnswer
		err := h.ask(asked, name, methodHello, struct{}{}, &a)
		cancel()
		if ctx.Err() != nil {
			return
		}
		h.heard(name, a, err)
		settled := true
		for _, g := range h.Groups() {
			settled = settled && g.settled()
		}
		switch {
		case settled && err == nil:
			every = pollIdle
		case every > pollSlow:
			every = pollFast
		default:
			every = min(every*5/4, pollSlow)
		}
		t := time.NewTimer(backoff.Jitter(every*3/4, every))
		select {
		case <-ctx.Done():
		case <-soon:
			// Not at once: what there is to hear may take the other a moment.
			backoff.Pause(ctx, backoff.Jitter(pollFast/10, pollFast/5))
			every = pollFast
		case <-t.C:
		}
		t.Stop()
	}
}

// heard gives an answer to the groups.
func (h *Host) heard(name string, a helloAnswer, err error) {
	said := make(map[uint64]helloGroup, len(a.Groups))
	if err == nil && a.Name == name {
		for _, s := range a.Groups {
			said[s.Group] = s
		}
	}
	for _, g := range h.Groups() {
		s, ok := said[g.id]
		if !ok {
			g.observe(name, nil)
			continue
		}
		p, err := s.peer(name)
		if err != nil {
			h.log.Warn("a host says what cannot be", "host", name, "group", g.name, "error", err)
		}
		g.observe(name, p)
	}
}
