package natsqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	headerExpected = "Nats-Expected-Last-Subject-Sequence"
	// maxRecord bounds what is read of a record.
	maxRecord = 256 << 10
)

var errLaneLost = errors.New("nats: the lane is somebody else's")

// record is what is kept of a lane of an ordered group: whose it is, and what is settled. It is written on condition that
// it is as it was last read or written, so that whoever lost a lane cannot change it any more.
type record struct {
	// Owner is the member that has the lane; "" for nobody.
	Owner string `json:"owner,omitempty"`
	// Floor is the number up to which everything is settled, and Above are those settled beyond, as distances: the first
	// from Floor, the others from the one before.
	Floor uint64   `json:"floor,omitempty"`
	Above []uint64 `json:"above,omitempty"`
	// Taken is the Floor with which the owner took the lane, and Deaths how many owners in a row were lost without moving
	// it.
	Taken  uint64 `json:"taken,omitempty"`
	Deaths int    `json:"deaths,omitempty"`
	// Stream tells which stream the numbers are of: when it was made, in ns.
	Stream int64 `json:"stream"`
	// Nonce tells this write from others.
	Nonce string `json:"nonce"`
}

// lane state as it is at the server; revision 0 is that there is none.
type storedLane struct {
	record
	revision uint64
}

// laneRecords are those of a group.
type laneRecords []storedLane

// known reports whether the group is ordered.
func (l laneRecords) known() bool {
	return slices.ContainsFunc(l, func(s storedLane) bool { return s.revision > 0 })
}

// above returns the numbers that are settled beyond the floor.
func (r record) above() map[uint64]bool {
	out := make(map[uint64]bool, len(r.Above))
	n := r.Floor
	for _, d := range r.Above {
		n += d
		out[n] = true
	}
	return out
}

// setAbove is the inverse of above, of those beyond Floor.
func (r *record) setAbove(settled map[uint64]bool) {
	r.Above = nil
	sorted := make([]uint64, 0, len(settled))
	for n := range settled {
		if n > r.Floor {
			sorted = append(sorted, n)
		}
	}
	slices.Sort(sorted)
	last := r.Floor
	for _, n := range sorted {
		r.Above = append(r.Above, n-last)
		last = n
	}
}

// parseRecord reads what somebody wrote. What cannot be read counts as nothing settled: messages come twice rather than
// never.
func parseRecord(b []byte) record {
	var r record
	if len(b) > maxRecord || json.Unmarshal(b, &r) != nil {
		return record{}
	}
	n := r.Floor
	for _, d := range r.Above {
		if d == 0 || n+d < n {
			return record{}
		}
		n += d
	}
	r.Deaths = max(0, min(r.Deaths, 1000))
	return r
}

type msgGet struct {
	Error *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	Message *struct {
		Seq  uint64 `json:"seq"`
		Data []byte `json:"data"`
	} `json:"message"`
}

// readLanes reads the records of a group from whoever leads. Those of a stream that is not there any more count as
// nothing settled, and remain somebody's.
func (e *Engine) readLanes(ctx context.Context, t *topic, group string) (laneRecords, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	subjects, err := e.laneSubjects(ctx, e.names.laneEvery(t.name, group))
	if err != nil {
		return nil, err
	}
	out := make(laneRecords, t.lanes)
	var there []int
	for subject := range subjects {
		n, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
		if err == nil && n >= 0 && n < t.lanes {
			there = append(there, n)
		}
	}
	if len(there) == 0 {
		return out, nil
	}
	c := e.link.replies.open(2 * len(there))
	defer c.close()
	for i, n := range there {
		body, _ := json.Marshal(map[string]string{"last_by_subj": e.names.lane(t.name, group, n)})
		err := e.link.conn.PublishRequest("$JS.API.STREAM.MSG.GET."+e.names.lanes(), c.reply(i), body)
		if err != nil {
			return nil, err
		}
	}
	for range there {
		select {
		case a := <-c.answers:
			if a.i < 0 || a.i >= len(there) {
				continue
			}
			if noResponders(a.msg) {
				return nil, errNoStream
			}
			var m msgGet
			if err := json.Unmarshal(a.msg.Data, &m); err != nil {
				return nil, fmt.Errorf("nats: an answer that is none: %w", err)
			}
			switch {
			case m.Error != nil && m.Error.Code == int(jetstream.JSErrCodeMessageNotFound):
			case m.Error != nil:
				return nil, apiError(m.Error.Code, m.Error.Description)
			case m.Message != nil:
				r := parseRecord(m.Message.Data)
				if r.Stream != t.created.UnixNano() {
					r = record{Owner: r.Owner}
				}
				out[there[a.i]] = storedLane{r, m.Message.Seq}
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("nats: no answer: %w", context.Cause(ctx))
		}
	}
	return out, nil
}

// laneSubjects returns the subjects of lanes that have records.
func (e *Engine) laneSubjects(ctx context.Context, filter string) (map[string]uint64, error) {
	s, err := e.link.js.Stream(ctx, e.names.lanes())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return info.State.Subjects, nil
}

// laneMsg is what writes a record on condition.
func (e *Engine) laneMsg(t *topic, group string, lane int, r *record, revision uint64) *nats.Msg {
	r.Stream, r.Nonce = t.created.UnixNano(), cryptoText()
	body, _ := json.Marshal(r)
	return &nats.Msg{
		Subject: e.names.lane(t.name, group, lane), Data: body,
		Header: nats.Header{headerExpected: {formatSeq(revision)}, headerID: {r.Nonce}},
	}
}

type laneWrite struct {
	lane     int
	record   record
	revision uint64
}

// writeLanes writes records, several at the same time, and returns their new revisions, or errLaneLost.
func (e *Engine) writeLanes(ctx context.Context, t *topic, group string, ws []laneWrite) ([]uint64, []error) {
	ctx, cancel := context.WithTimeout(ctx, 2*adminTimeout)
	defer cancel()
	out, which := make([]*nats.Msg, len(ws)), make([]int, len(ws))
	for i := range ws {
		out[i], which[i] = e.laneMsg(t, group, ws[i].lane, &ws[i].record, ws[i].revision), i
	}
	seqs, errs := e.send(ctx, out, which)
	for i, err := range errs {
		if err == nil || !wrongRevision(err) {
			continue
		}
		// The one before may have been ours, and its confirmation was lost.
		errs[i] = errLaneLost
		now, e := e.readLanes(ctx, t, group)
		if e != nil {
			errs[i] = e
		} else if s := now[ws[i].lane]; s.Nonce == ws[i].record.Nonce {
			seqs[i], errs[i] = s.revision, nil
		}
	}
	return seqs, errs
}

func wrongRevision(err error) bool {
	return strings.Contains(err.Error(), "wrong last sequence")
}

// makeLanes makes the stream of the records.
func (e *Engine) makeLanes(ctx context.Context) error {
	_, err := e.makeStream(ctx, jetstream.StreamConfig{
		Name: e.names.lanes(), Subjects: []string{e.names.prefix + ".l.*.*.*"}, Description: "How far ordered groups are",
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: e.cfg.Replicas,
		Discard: jetstream.DiscardOld, MaxMsgsPerSubject: 1, Duplicates: 30 * time.Second,
	})
	return err
}

// dropLanes makes a group one that is not ordered.
func (e *Engine) dropLanes(ctx context.Context, t *topic, group string, records laneRecords) error {
	if !records.known() {
		return nil
	}
	s, err := e.link.js.Stream(ctx, e.names.lanes())
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(e.names.laneEvery(t.name, group)))
}

// orderedGroups lists the groups that have lanes.
func (e *Engine) orderedGroups(ctx context.Context) (out []driver.Group, err error) {
	subjects, err := e.laneSubjects(ctx, e.names.prefix+".l.>")
	if err != nil {
		return nil, err
	}
	for subject := range subjects {
		if topic, group, ok := e.names.groupOf(subject); ok {
			out = append(out, driver.Group{Topic: topic, Group: group})
		}
	}
	return out, nil
}
