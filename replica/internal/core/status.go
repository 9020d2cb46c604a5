package core

import "time"

// Role is what a member is in its group.
type Role uint8

// The roles.
const (
	Follower Role = iota
	Candidate
	Leader
	Learner
	Removed // the group has gone on without this member
)

// Status is how a member stands.
type Status struct {
	ID, Term, Leader uint64 // Leader 0: unknown
	Role             Role
	// Commit and Applied are indexes of the log.
	Commit, Applied uint64
	// Pending proposals and reads of this member.
	Pending, PendingBytes, Reads int
	// Transferring is whom leadership is being handed to; 0: nobody.
	Transferring uint64
	// Members is the table as of Applied; Peers, on the leader, how far each is. Both by ID. Read only.
	Members []MemberInfo
	Peers   []Peer
	// Err is why the member has ended.
	Err error
}

// Peer is what a leader knows of another member.
type Peer struct {
	ID      uint64
	Learner bool
	Match   uint64    // its log is known to agree up to here
	Active  bool      // heard within the last election timeout
	Heard   time.Time // when last
}
