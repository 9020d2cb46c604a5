package embed

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/holdfast-go/holdfast/internal/backoff"
)

const (
	// upkeepEvery is how often a member looks at its database, a tenth more or less.
	upkeepEvery = 30 * time.Second
	// upkeepCall bounds what is proposed to the other members.
	upkeepCall = 5 * time.Second
	// failedTurns is how many turns a member lets pass after a defragmentation that failed, for want of disk space as a rule.
	failedTurns = 10
	// nobody is a member's ID that none has.
	nobody = 1
)

// upkeep keeps the database of one member below its quota. etcd by itself never makes its file smaller, and once that was
// too large it takes no write any more until somebody compacts it, defragments it, and ends its alarm.
type upkeep struct {
	server *etcdserver.EtcdServer
	quota  int64
	log    *slog.Logger

	warned bool // the database is large, and that was said
	waited int  // turns passed with something to defragment
	roomy  int  // turns passed with an alarm and room here
}

// maintain looks after the database every so often, until ctx or the server ends.
func maintain(ctx context.Context, server *etcdserver.EtcdServer, cfg EtcdConfig, every time.Duration) {
	u := &upkeep{server: server, quota: cfg.QuotaBytes, log: cfg.Logger.With("member", cfg.Name)}
	// The server waits for it before it closes the database, also when it ends by itself.
	server.GoAttach(func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			defer cancel()
			select {
			case <-server.StoppingNotify():
			case <-ctx.Done():
			}
		}()
		for backoff.Pause(ctx, backoff.Jitter(every*9/10, every*11/10)) {
			u.turn(ctx)
		}
	})
}

// turn looks at the database once.
func (u *upkeep) turn(ctx context.Context) {
	leads := u.server.Lead() == uint64(u.server.MemberID())
	alarms := u.alarms()
	if len(alarms) > 0 && leads {
		u.compact(ctx)
	}
	u.warn(u.server.Backend().Size(), u.server.Backend().SizeInUse())
	u.defragment(len(alarms) > 0)
	if len(alarms) > 0 {
		u.disarm(ctx, leads, alarms)
	} else {
		u.roomy = 0
	}
}

// alarms returns those of members whose databases were full.
func (u *upkeep) alarms() []*etcdserverpb.AlarmMember {
	var full []*etcdserverpb.AlarmMember
	for _, a := range u.server.Alarms() {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			full = append(full, a)
		}
	}
	return full
}

// warn says once that the database comes near its quota.
func (u *upkeep) warn(size, used int64) {
	large := size >= u.quota/10*7
	if large && !u.warned {
		u.log.Warn("the database of etcd comes near its quota, beyond which it takes no writes", "bytes", size, "used", used, "quota", u.quota)
	}
	u.warned = large
}

// compact lets go of all old revisions: the periodic compaction may be minutes away, and keeps those of the last ones.
func (u *upkeep) compact(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, upkeepCall)
	defer cancel()
	_, err := u.server.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: u.server.KV().Rev()})
	if err == nil || errors.Is(err, mvcc.ErrCompacted) {
		// etcd counts free pages when it commits, and those of a transaction with the next one. In a database that is full
		// there may be none, and an alarm of nobody is a write that it takes.
		err = u.alarm(ctx, nobody, etcdserverpb.AlarmRequest_ACTIVATE)
		if err == nil {
			err = u.alarm(ctx, nobody, etcdserverpb.AlarmRequest_DEACTIVATE)
		}
	}
	if err != nil && ctx.Err() == nil {
		u.log.Warn("the database of etcd is full and cannot be compacted", "error", err)
	}
}

func (u *upkeep) alarm(ctx context.Context, member uint64, action etcdserverpb.AlarmRequest_AlarmAction) error {
	_, err := u.server.Alarm(ctx, &etcdserverpb.AlarmRequest{Action: action, MemberID: member, Alarm: etcdserverpb.AlarmType_NOSPACE})
	return err
}

// defragment gives free pages back if that is worth it and it is this member's turn: the member stands still meanwhile,
// and the others are not to.
func (u *upkeep) defragment(alarmed bool) {
	backend := u.server.Backend()
	size, used := backend.Size(), backend.SizeInUse()
	if !worthIt(size, used, u.quota, alarmed) {
		u.waited = 0
		return
	}
	if u.waited < u.rank() {
		u.waited++
		return
	}
	u.waited = 0
	begun := time.Now()
	if err := u.server.Defragment(); err != nil {
		u.waited = -failedTurns
		u.log.Warn("the database of etcd cannot be defragmented", "bytes", size, "used", used, "error", err)
		return
	}
	u.log.Info("the database of etcd was defragmented", "bytes", backend.Size(), "before", size, "took", time.Since(begun))
}

// worthIt reports whether a database should be defragmented. One that is full is not roomy afterwards unless a fifth of
// the quota comes free, and one that is roomy has no need.
func worthIt(size, used, quota int64, alarmed bool) bool {
	return size > quota/2 && used < size/2 || alarmed && !roomy(size, quota) && used < quota/10*8
}

// roomy reports whether a database can take writes for some time.
func roomy(size, quota int64) bool { return size < quota/10*9 }

// rank is how many members have their turns before this one. The leader is the last: what all of them wait for goes
// through it.
func (u *upkeep) rank() int {
	self, before := u.server.MemberID(), 0
	for _, m := range u.server.Cluster().Members() {
		if first(uint64(m.ID), uint64(self), u.server.Lead()) {
			before++
		}
	}
	return before
}

// first reports whether a member has its turn before another one.
func first(a, b, leader uint64) bool { return a != b && a != leader && (b == leader || a < b) }

// disarm ends this member's own alarm when there is room. The leader also ends those of others, which may be gone, when
// all have had their turns; one that is still full raises it again.
func (u *upkeep) disarm(ctx context.Context, leads bool, alarms []*etcdserverpb.AlarmMember) {
	if !roomy(u.server.Backend().Size(), u.quota) {
		u.roomy = 0
		return
	}
	u.roomy++
	all := leads && u.roomy > len(u.server.Cluster().Members())
	ctx, cancel := context.WithTimeout(ctx, upkeepCall)
	defer cancel()
	for _, a := range alarms {
		if a.MemberID != uint64(u.server.MemberID()) && !all {
			continue
		}
		err := u.alarm(ctx, a.MemberID, etcdserverpb.AlarmRequest_DEACTIVATE)
		if err == nil {
			u.log.Info("the database of etcd is not full any more")
		} else if ctx.Err() == nil {
			u.log.Warn("the alarm of etcd, whose database was full, cannot be ended", "error", err)
		}
	}
}
