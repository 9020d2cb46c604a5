package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/holdfast-go/holdfast/internal/backoff"
)

const (
	// firstPause is that between looks right after something was there; pauses double from there.
	firstPause = 10 * time.Millisecond
	// recent is how long looks are frequent after this process added something.
	recent      = time.Second
	recentPause = 25 * time.Millisecond
	// sleepAfter is how many looks in vain there are before the relay asks to be woken: about a tenth of a second.
	sleepAfter = 4
	// manyFound is how many events and wake-ups there are, since the relay asked to be woken, when it does better without: those
	// who wake it commit one after the other. Wake-ups count by themselves, since they may be for events that have to wait.
	manyFound = 50
	// furtherWakes bounds those that are taken in at a time, after the first.
	furtherWakes = 1000
	// checkEvery is how often the connection that listens is asked whether it lives, redialEvery how often one is made.
	checkEvery  = 30 * time.Second
	redialEvery = 5 * time.Second
)

// told is what the database was told of the relay.
type told int

const (
	unknown told = iota // by this process; another one's relay may have left word
	awake
	asleep
)

// wakes reports whether those who add events are asked to wake the relay.
func (s *Store) wakes() bool { return s.dialect == PostgreSQL && !s.cfg.NoListen }

// listening is the connection that listens, and what is known of it.
type listening struct {
	conn    *pgx.Conn
	checked time.Time
	dialed  time.Time
	never   bool // the driver of the database is another one
}

// Wait implements outbox.Store. It looks often while there was something a moment ago, more and more seldom then, up to Config.Poll.
// On PostgreSQL it has itself woken when it looks seldom: it listens on a connection of its own, and says so in the
// database, since transactions that notify commit one after the other and should not when there are many. What it misses
// meanwhile, and whenever listening does not work, is found by looking.
//
// The connection that listens is closed by a Wait whose ctx is over.
func (s *Store) Wait(ctx context.Context) error {
	defer func() {
		if ctx.Err() != nil {
			s.hangUp()
		}
	}()
	if ctx.Err() != nil {
		return ctx.Err() //nolint:wrapcheck // as it is
	}
	s.mu.Lock()
	idle := s.idle
	s.idle++
	fallAsleep := s.wakes() && s.told != asleep && idle == sleepAfter
	s.mu.Unlock()
	switch {
	case idle < sleepAfter:
		backoff.Pause(ctx, spread(min(firstPause<<min(idle, sleepAfter), s.cfg.Poll)))
	case fallAsleep && s.listen(ctx):
		s.sleep(ctx, asleep)
		return ctx.Err() // to look once more: who did not see it did not notify
	default:
		s.rest(ctx, idle)
	}
	return ctx.Err()
}

func spread(d time.Duration) time.Duration { return backoff.Jitter(d*3/4, d*5/4) }

// rest waits for a notification, if somebody listens, or for as long as it is not worth looking.
func (s *Store) rest(ctx context.Context, idle int) {
	pause := min(firstPause<<min(idle, 20), s.cfg.Poll)
	if since := time.Duration(time.Now().UnixNano() - s.added.Load()); since < recent {
		pause = min(pause, recentPause) // it may be committed any moment
	}
	conn := s.listening.conn
	if conn == nil {
		backoff.Pause(ctx, spread(pause))
		s.redial(ctx)
		return
	}
	call, cancel := context.WithTimeout(ctx, spread(pause))
	_, err := conn.WaitForNotification(call)
	over := call.Err() != nil
	cancel()
	if err == nil {
		s.woken(ctx, conn)
		return
	}
	if over && time.Since(s.listening.checked) > checkEvery { // one that is cut off says nothing, either
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		err = conn.Ping(call)
		cancel()
		s.listening.checked, over = time.Now(), err == nil
	}
	if (!over || conn.IsClosed()) && ctx.Err() == nil {
		s.cfg.Logger.Info("the outbox is not listened to any more, and looked at instead", "outbox", s.cfg.Prefix, "error", err)
		s.hangUp()
	}
}

// woken takes in what else has come, since one look is for all of it, and counts it.
func (s *Store) woken(ctx context.Context, conn *pgx.Conn) {
	n := 1
	for ; n <= furtherWakes; n++ {
		call, cancel := context.WithTimeout(ctx, time.Millisecond)
		_, err := conn.WaitForNotification(call)
		cancel()
		if err != nil { // there is no more, or the next call says what it is
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found += n
}

// redial tries to listen again, now and then.
func (s *Store) redial(ctx context.Context) {
	s.mu.Lock()
	listen := s.told == asleep
	s.mu.Unlock()
	if listen && !s.listening.never && time.Since(s.listening.dialed) > redialEvery {
		s.listen(ctx)
	}
}

// listen makes sure that there is a connection that listens, and reports whether there is. It is not one of the pool, which
// may have few, and is dialed as those of the pool are.
func (s *Store) listen(ctx context.Context) bool {
	l := &s.listening
	if l.conn != nil || l.never {
		return l.conn != nil
	}
	if time.Since(l.dialed) < redialEvery {
		return false
	}
	l.dialed = time.Now()
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := dial(call, s.db)
	if errors.Is(err, errOtherDriver) {
		l.never = true
		return false
	}
	if err == nil {
		if _, err = conn.Exec(call, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
			_ = conn.Close(call)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			s.cfg.Logger.Info("the outbox cannot be listened to, and is looked at instead", "outbox", s.cfg.Prefix, "error", err)
		}
		return false
	}
	l.conn, l.checked = conn, time.Now()
	return true
}

var errOtherDriver = errors.New("not pgx")

func dial(ctx context.Context, db *sql.DB) (*pgx.Conn, error) {
	pooled, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer pooled.Close() //nolint:errcheck // back to the pool, or lost
	var cfg *pgx.ConnConfig
	err = pooled.Raw(func(c any) error {
		conn, ok := c.(*stdlib.Conn)
		if !ok {
			return errOtherDriver
		}
		cfg = conn.Conn().Config()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// sleep tells those who add events whether to notify. It is worth no fsync: what gets lost is found by looking.
func (s *Store) sleep(ctx context.Context, how told) {
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := s.db.ExecContext(call, s.sql.asleep, how == asleep); err != nil {
		return // next time
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told, s.found = how, 0
}

// hangUp ends listening.
func (s *Store) hangUp() {
	l := &s.listening
	if l.conn == nil {
		return
	}
	call, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.conn.Close(call)
	l.conn = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told, s.idle = unknown, min(s.idle, sleepAfter) // it is told anew
}
