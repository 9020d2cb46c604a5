package core

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/failure"
)

// A snapshot file: snapshotMagic with the format's version as its last byte, the length of the header in 4 bytes and
// its CRC-32C in 4 (all little endian), the header, then the machine's bytes to the end.
const (
	snapshotMagic = "HFSTATE\x01"
	maxHeader     = 1 << 30
	// maxMembers bounds the table of members. A group has a handful.
	maxMembers = 64
	// maxTable bounds what is read as one: more than maxMembers, so that no table that was once agreed on is unreadable.
	maxTable = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Capture is the state of a group at one index: a header of this package's, then the machine's bytes.
type Capture struct {
	Mark    Mark
	conf    *raftpb.ConfState
	header  []byte
	machine MachineSnapshot // nil: it has never been touched
}

// Snapshot captures the state of now. The capture may be written by another goroutine while Apply goes on.
func (a *Applier) Snapshot() (c *Capture, err error) {
	defer func() {
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("snapshot: the machine panicked: %v", p)
		}
	}()
	c = &Capture{Mark: a.mark, conf: a.conf}
	if c.header, err = a.state().append(nil); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if a.touched {
		if c.machine, err = a.machine.Snapshot(); err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	return c, nil
}

// Write writes the file's content; the caller makes it durable.
func (c *Capture) Write(w io.Writer) error {
	b := make([]byte, 0, len(snapshotMagic)+8)
	b = append(b, snapshotMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.header)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(c.header, castagnoli))
	if _, err := w.Write(b); err != nil {
		return err
	}
	if _, err := w.Write(c.header); err != nil {
		return err
	}
	if c.machine == nil {
		return nil
	}
	return c.machine.Write(w)
}

// Release frees the machine's part. Call it once, after Write or instead of it.
func (c *Capture) Release() {
	if c.machine != nil {
		c.machine.Release()
		c.machine = nil
	}
}

// Header is what can be known of a snapshot file without its machine.
type Header struct {
	Mark    Mark
	Members []MemberInfo
}

// ReadHeader reads the beginning of a snapshot file.
func ReadHeader(r io.Reader) (Header, error) {
	st, err := readState(r)
	if err != nil {
		return Header{}, fmt.Errorf("read snapshot: %w", err)
	}
	return Header{Mark: st.mark, Members: st.members}, nil
}

// Founding returns the first snapshot of a group, the same bytes on every founding member: index 1, term 1, these
// voters, a machine that was never restored.
func Founding(members []MemberInfo) *Capture {
	st := state{mark: Mark{Index: 1, Term: 1}, conf: &raftpb.ConfState{}}
	st.members = slices.SortedFunc(slices.Values(members), func(a, b MemberInfo) int { return cmp.Compare(a.ID, b.ID) })
	for i := range st.members {
		st.members[i].Learner = false
		st.conf.Voters = append(st.conf.Voters, st.members[i].ID)
	}
	header, err := st.append(nil)
	if err != nil { // a ConfState that was just made is always encoded
		panic(err)
	}
	return &Capture{Mark: st.mark, conf: st.conf, header: header}
}

// state is all that an Applier keeps beside the machine.
type state struct {
	mark     Mark
	time     int64
	commands uint64
	touched  bool
	sessions sessions
	keys     keys
	conf     *raftpb.ConfState
	members  []MemberInfo
}

func (a *Applier) state() *state {
	return &state{
		mark: a.mark, time: a.time, commands: a.commands, touched: a.touched,
		sessions: a.sessions, keys: a.keys, conf: a.conf, members: a.members,
	}
}

// append writes the state in one fixed order, so that members which agree write the same bytes.
func (st *state) append(b []byte) ([]byte, error) {
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(st.conf)
	if err != nil {
		return nil, err
	}
	for _, v := range []uint64{st.mark.Index, st.mark.Term, uint64(st.time), st.commands, flag(st.touched)} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendBytes(b, conf)
	b = appendMembers(b, st.members)

	b = binary.AppendUvarint(b, st.sessions.last)
	b = binary.AppendUvarint(b, uint64(len(st.sessions.byID)))
	for _, id := range slices.Sorted(maps.Keys(st.sessions.byID)) {
		s := st.sessions.byID[id]
		window := s.window[s.head:]
		for _, v := range []uint64{s.id, s.origin, s.nonce, s.used, s.low, uint64(s.trimmed), uint64(len(window))} {
			b = binary.AppendUvarint(b, v)
		}
		for i := range window {
			b = window[i].append(b)
		}
	}
	live := st.keys.order[st.keys.head:]
	b = binary.AppendUvarint(b, uint64(len(live)))
	for _, k := range live {
		b = appendBytes(b, k.key)
		b = binary.AppendUvarint(b, uint64(k.time))
		b = k.kept.append(b)
	}
	return b, nil
}

func readState(r io.Reader) (*state, error) {
	var fixed [len(snapshotMagic) + 8]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(fixed[:], []byte(snapshotMagic[:len(snapshotMagic)-1])) {
		return nil, errors.New("not a snapshot")
	}
	if v := fixed[len(snapshotMagic)-1]; v != snapshotMagic[len(snapshotMagic)-1] {
		return nil, fmt.Errorf("the snapshot has format %d; this program reads format %d", v, snapshotMagic[len(snapshotMagic)-1])
	}
	n := binary.LittleEndian.Uint32(fixed[len(snapshotMagic):])
	sum := binary.LittleEndian.Uint32(fixed[len(snapshotMagic)+4:])
	if n > maxHeader {
		return nil, errMalformed
	}
	var header bytes.Buffer // grows with what there is, whatever the length claims
	if got, err := io.CopyN(&header, r, int64(n)); err != nil || got != int64(n) {
		return nil, io.ErrUnexpectedEOF
	}
	if crc32.Checksum(header.Bytes(), castagnoli) != sum {
		return nil, errors.New("the snapshot's header is damaged")
	}
	return parseState(header.Bytes())
}

func parseState(b []byte) (*state, error) {
	c := cursor{b: b}
	st := &state{sessions: sessions{byID: map[uint64]*session{}}, keys: keys{byKey: map[string]*keyed{}}, conf: &raftpb.ConfState{}}
	st.mark.Index, st.mark.Term, st.time, st.commands, st.touched = c.uvarint(), c.uvarint(), int64(c.uvarint()), c.uvarint(), c.uvarint() == 1
	if err := proto.Unmarshal(c.bytes(maxHeader), st.conf); err != nil {
		return nil, errMalformed
	}
	st.members = c.members()
	st.sessions.last = c.uvarint()
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		s := &session{id: c.uvarint(), origin: c.uvarint(), nonce: c.uvarint(), used: c.uvarint(), low: c.uvarint()}
		trimmed, size := c.uvarint(), c.uvarint()
		if trimmed > maxWindow || size > maxWindow || size > uint64(len(c.b)) {
			return nil, errMalformed
		}
		s.trimmed = int(trimmed)
		for range size {
			k := c.kept()
			s.bytes += k.size()
			s.window = append(s.window, k)
		}
		st.sessions.byID[s.id] = s
	}
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		k := &keyed{key: c.str(maxKey), time: int64(c.uvarint())}
		k.kept = c.kept()
		st.keys.add(k)
	}
	if c.bad || len(c.b) != 0 || st.time < 0 {
		return nil, errMalformed
	}
	return st, nil
}

// The states of a kept outcome in a snapshot.
const (
	keptNothing = iota
	keptDropped
	keptBytes
	keptError
)

func (k *kept) append(b []byte) []byte {
	switch {
	case !k.applied:
		return append(b, keptNothing)
	case k.dropped:
		return append(b, keptDropped)
	case k.err == nil:
		return appendBytes(append(b, keptBytes), k.bytes)
	}
	e := k.err
	b = append(b, keptError)
	b = binary.AppendUvarint(b, uint64(e.Code))
	b = appendBytes(b, e.Message)
	b = appendBytes(b, e.Reason)
	b = appendBytes(b, e.Domain)
	b = binary.AppendUvarint(b, uint64(max(e.RetryAfter, 0)))
	b = binary.AppendUvarint(b, uint64(len(e.Metadata)))
	for _, key := range slices.Sorted(maps.Keys(e.Metadata)) {
		b = appendBytes(b, key)
		b = appendBytes(b, e.Metadata[key])
	}
	b = binary.AppendUvarint(b, uint64(len(e.Violations)))
	for _, v := range e.Violations {
		b = appendBytes(b, v.Field)
		b = appendBytes(b, v.Description)
	}
	return b
}

func (c *cursor) kept() (k kept) {
	switch kind := c.uvarint(); kind {
	case keptNothing:
	case keptDropped:
		k = kept{applied: true, dropped: true}
	case keptBytes:
		k = kept{applied: true, bytes: bytes.Clone(c.bytes(maxHeader))}
	case keptError:
		e := &failure.Error{Code: failure.Code(c.uvarint())}
		e.Message, e.Reason, e.Domain = c.str(maxHeader), c.str(maxHeader), c.str(maxHeader)
		e.RetryAfter = time.Duration(c.uvarint())
		for n := c.uvarint(); n > 0 && !c.bad; n-- {
			if e.Metadata == nil {
				e.Metadata = map[string]string{}
			}
			key := c.str(maxHeader)
			e.Metadata[key] = c.str(maxHeader)
		}
		for n := c.uvarint(); n > 0 && !c.bad; n-- {
			e.Violations = append(e.Violations, failure.Violation{Field: c.str(maxHeader), Description: c.str(maxHeader)})
		}
		k = kept{applied: true, err: e}
	default:
		c.bad, c.b = true, nil
	}
	return k
}

func appendMembers(b []byte, members []MemberInfo) []byte {
	b = binary.AppendUvarint(b, uint64(len(members)))
	for _, m := range members {
		b = binary.AppendUvarint(b, m.ID)
		b = appendBytes(b, m.Name)
		b = appendBytes(b, m.Addr)
		b = binary.AppendUvarint(b, flag(m.Learner))
	}
	return b
}

func (c *cursor) members() []MemberInfo {
	n := c.uvarint()
	if n > maxTable {
		c.bad, c.b = true, nil
		return nil
	}
	var out []MemberInfo
	for range n {
		out = append(out, MemberInfo{ID: c.uvarint(), Name: c.str(maxKey), Addr: c.str(maxKey), Learner: c.uvarint() == 1})
	}
	return out
}

func appendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func flag(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}
