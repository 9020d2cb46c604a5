package replica

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/found"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// hostGroup is the group of the log under which the host keeps whose it is.
const hostGroup = 0

// identity is what the log says of the host itself.
type identity struct {
	Name string `json:"name"`
}

// identify checks that the directory is this host's, and makes it so if it is nobody's.
func (h *Host) identify() error {
	groups := h.wal.Groups()
	if !slices.Contains(groups, hostGroup) {
		if len(groups) > 0 {
			return ErrForeign.With(fmt.Sprintf("%s: the log does not say whose it is", h.cfg.Dir))
		}
		b, err := json.Marshal(identity{h.cfg.Name})
		if err != nil {
			return err
		}
		return h.wal.Append([]wal.Update{{Group: hostGroup, Meta: b}})
	}
	kept, err := h.wal.Load(hostGroup)
	if err != nil {
		return err
	}
	var id identity
	if err := json.Unmarshal(kept.Meta, &id); err != nil {
		return failure.Wrap(err, failure.DataLoss, "%s: whose log it is cannot be read", h.cfg.Dir)
	}
	if id.Name != h.cfg.Name {
		return ErrForeign.With(fmt.Sprintf("%s is the directory of host %q, and this is %q: give it its own, or an empty one", h.cfg.Dir, id.Name, h.cfg.Name))
	}
	return nil
}

// record is what the log says of this host's part in a group beside raft's own: a found.State with the member's ID.
type record struct {
	ID      uint64        `json:"id"`
	Kind    string        `json:"kind"`
	Cluster uint64        `json:"cluster,omitempty"`
	Founder *memberName   `json:"founder,omitempty"`
	Members []*memberName `json:"members,omitempty"`
	Since   uint64        `json:"since,omitempty"`
}

type memberName struct {
	Name string `json:"name"`
	ID   uint64 `json:"id"`
}

func newRecord(id uint64, s found.State) record {
	r := record{ID: id, Kind: s.Kind.String(), Cluster: s.Record.Cluster, Since: s.Since}
	if s.Kind != found.Fresh {
		r.Founder = &memberName{s.Record.Founder.Name, s.Record.Founder.ID}
	}
	for _, m := range s.Record.Members {
		r.Members = append(r.Members, &memberName{m.Name, m.ID})
	}
	return r
}

// state is the inverse of newRecord. What comes from another host is not to be believed.
func (r record) state() (found.State, error) {
	s := found.State{Since: r.Since, Record: found.Record{Cluster: r.Cluster}}
	for _, k := range []found.Kind{found.Fresh, found.Prepared, found.Active} {
		if k.String() == r.Kind {
			s.Kind = k
		}
	}
	bad := func(what string) (found.State, error) { return found.State{}, fmt.Errorf("founding record: %s", what) }
	if s.Kind.String() != r.Kind || r.ID == 0 {
		return bad("unknown kind, or no ID")
	}
	if s.Kind == found.Fresh {
		return found.State{}, nil
	}
	if r.Cluster == 0 || r.Founder == nil || len(r.Members) == 0 || len(r.Members) > maxMembers {
		return bad("no cluster, founder or members")
	}
	s.Record.Founder = found.Member{Name: r.Founder.Name, ID: r.Founder.ID}
	for i, m := range r.Members {
		if m == nil || m.ID == 0 || ValidateName(m.Name) != nil || i > 0 && m.Name <= r.Members[i-1].Name {
			return bad("members are not in order")
		}
		s.Record.Members = append(s.Record.Members, found.Member{Name: m.Name, ID: m.ID})
	}
	if !slices.Contains(s.Record.Members, s.Record.Founder) {
		return bad("the founder is no member")
	}
	return s, nil
}

// newID returns a number that was never used: as a member's ID and as a cluster's.
func newID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	// The two highest are raft's own names for a member's parts.
	return max(1, binary.LittleEndian.Uint64(b[:])>>1)
}
