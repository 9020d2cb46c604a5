package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/holdfast-go/holdfast/lock/guard"
)

// storage is what the locks are for: a table of a database, whose writes go by the largest token (package guard). It also
// keeps what contenders say of their holds. Both are judged in the end: the table by its rows, in the order in which they
// were committed, so that a guard which lets something through is found out.
type storage struct {
	lis    net.Listener
	wg     sync.WaitGroup
	db     *sql.DB
	tokens guard.SQL
	open   bool // takes every write, for a test of the verdict

	mu      sync.Mutex
	conns   map[net.Conn]bool
	closed  bool
	last    map[string]message   // that began
	waits   map[net.Conn]message // that were asked for and have not begun
	grants  map[string]time.Time // when the last one began
	refused int
	failed  error // of the database
	ended   map[string][]message
	began   map[string][]uint64
}

func newStorage(dir string) (*storage, error) {
	// Transactions take their turn from the beginning, so that rows are numbered in the order of the commits. What the disk
	// has after a crash does not matter here.
	file := "file:" + filepath.Join(dir, "storage.db") + "?_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_txlock=immediate"
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	s := &storage{
		db: db, conns: make(map[net.Conn]bool), last: make(map[string]message), waits: make(map[net.Conn]message),
		grants: make(map[string]time.Time), ended: make(map[string][]message), began: make(map[string][]uint64),
	}
	for _, statement := range []string{
		s.tokens.Schema(),
		"CREATE TABLE writes (n INTEGER PRIMARY KEY AUTOINCREMENT, lock TEXT NOT NULL, token BIGINT NOT NULL, process INTEGER NOT NULL)",
	} {
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			_ = db.Close()
			return nil, fmt.Errorf("storage: %w", err)
		}
	}
	if s.lis, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("storage: %w", err)
	}
	s.wg.Go(func() {
		for {
			conn, err := s.lis.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(conn) })
		}
	})
	return s, nil
}

func (s *storage) addr() string { return s.lis.Addr().String() }

func (s *storage) close() {
	s.lis.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	_ = s.db.Close() // nobody reads it any more
}

func (s *storage) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	s.conns[conn] = true
	closed := s.closed
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
		delete(s.waits, conn) // whose process has ended
	}()
	lines := bufio.NewScanner(conn)
	for !closed && lines.Scan() {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return
		}
		if json.NewEncoder(conn).Encode(s.take(conn, m)) != nil {
			return
		}
	}
}

func (s *storage) take(from net.Conn, m message) answer {
	s.note(from, m)
	if m.Op != "began" && m.Op != "write" {
		return answer{}
	}
	// That a hold has begun is a write, too: from then on nothing of the one before is taken.
	err := s.write(context.Background(), m)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, guard.ErrStale):
		s.refused++
		return answer{Stale: true}
	case err != nil && s.failed == nil:
		s.failed = err
	}
	return answer{}
}

func (s *storage) note(from net.Conn, m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Op {
	case "asks":
		s.waits[from] = m
	case "began":
		delete(s.waits, from)
		s.last[m.Lock] = m
		s.grants[m.Lock] = time.Now()
		s.began[m.Lock] = append(s.began[m.Lock], m.Token)
	case "ended":
		s.ended[m.Lock] = append(s.ended[m.Lock], m)
	}
}

func (s *storage) write(ctx context.Context, m message) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // without effect after the commit
	if !s.open {
		if err := s.tokens.Check(ctx, tx, m.Lock, m.Token); err != nil {
			return fmt.Errorf("storage: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO writes (lock, token, process) VALUES (?, ?, ?)", m.Lock, int64(m.Token), m.Process); err != nil { //nolint:gosec // below 1<<63
		return fmt.Errorf("storage: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return nil
}

// progress returns the locks, the election among them, of which no hold has begun since then, and how many wait for a lock
// for longer than that.
func (s *storage) progress(since time.Time, long time.Duration) (idle []string, old int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range locks + 1 {
		if name := lockName(i); s.grants[name].Before(since) {
			idle = append(idle, name)
		}
	}
	for _, m := range s.waits {
		if m.Lock != election && time.Since(time.Unix(0, m.Asked)) > long { // reigns are long
			old++
		}
	}
	return idle, old
}

// lockName returns the name of a lock, the last of which is the election.
func lockName(i int) string {
	if i == locks {
		return election
	}
	return fmt.Sprint("lock-", i)
}

// holder returns the process that was granted one of the locks last, or leads.
func (s *storage) holder(i int) (process int, ok bool) {
	name := lockName(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.last[name]
	return m.Process, ok
}

// verdict is what came of it.
type verdict struct {
	overlaps, leadOverlaps, shrunk, stale int
	refused, writes, holds, lost, leads   int
	handovers, waits                      []time.Duration
	problems                              []string
}

func (s *storage) verdict(ctx context.Context) (verdict, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := verdict{refused: s.refused}
	if s.failed != nil {
		return v, s.failed
	}
	if err := s.rows(ctx, &v); err != nil {
		return v, fmt.Errorf("storage: %w", err)
	}
	for _, tokens := range s.began {
		seen := slices.Sorted(slices.Values(tokens))
		v.shrunk += len(seen) - len(slices.Compact(seen))
	}
	for name, holds := range s.ended {
		s.judge(&v, name, holds)
	}
	return v, nil
}

// rows goes through the table in the order of the commits: a row is stale if one with a larger token is before it.
func (s *storage) rows(ctx context.Context, v *verdict) error {
	rows, err := s.db.QueryContext(ctx, "SELECT lock, token, process FROM writes ORDER BY n")
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err has it
	largest := make(map[string]int64)
	for rows.Next() {
		var name string
		var token int64
		var process int
		if err := rows.Scan(&name, &token, &process); err != nil {
			return err
		}
		v.writes++
		if token < largest[name] {
			v.stale++
			v.problems = append(v.problems, fmt.Sprintf("%s: process %d has written with token %d after one with %d had", name, process, token, largest[name]))
		}
		largest[name] = max(largest[name], token)
	}
	return rows.Err()
}

// judge goes through the holds of one lock in the order in which they were granted.
func (s *storage) judge(v *verdict, name string, holds []message) {
	slices.SortFunc(holds, func(a, b message) int { return int(a.Granted - b.Granted) })
	for i, m := range holds {
		if name == election {
			v.leads++
		} else {
			v.holds++
			v.waits = append(v.waits, time.Duration(m.Granted-m.Asked))
		}
		if m.Lost {
			v.lost++
		}
		if i == 0 {
			continue
		}
		before := holds[i-1]
		if m.Token <= before.Token {
			v.shrunk++
			v.problems = append(v.problems, fmt.Sprintf("%s: token %d after %d", name, m.Token, before.Token))
		}
		gap := time.Duration(m.Granted - before.Ended)
		switch {
		case gap < 0 && name == election:
			v.leadOverlaps++
		case gap < 0:
			v.overlaps++
		case !before.Lost && m.Asked < before.Ended && name != election:
			v.handovers = append(v.handovers, gap)
		}
		if gap < 0 {
			v.problems = append(v.problems, fmt.Sprintf("%s: two for %v: %+v and %+v", name, -gap, before, m))
		}
	}
}

func quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
