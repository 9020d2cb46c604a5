package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// storage is what the locks are for: it remembers the largest token of each lock and refuses writes with a smaller one.
// It also keeps what contenders say of their holds, and judges it.
type storage struct {
	lis net.Listener
	wg  sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	closed   bool
	last     map[string]message // that began
	highest  map[string]uint64
	accepted map[string][]uint64 // tokens of writes, in their order
	refused  int
	ended    map[string][]message
	began    map[string][]uint64
}

func newStorage() (*storage, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	s := &storage{
		lis: lis, conns: make(map[net.Conn]bool), last: make(map[string]message), highest: make(map[string]uint64),
		accepted: make(map[string][]uint64), ended: make(map[string][]message), began: make(map[string][]uint64),
	}
	s.wg.Go(func() {
		for {
			conn, err := lis.Accept()
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
}

func (s *storage) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	s.conns[conn] = true
	closed := s.closed
	s.mu.Unlock()
	lines := bufio.NewScanner(conn)
	for !closed && lines.Scan() {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return
		}
		if json.NewEncoder(conn).Encode(s.take(m)) != nil {
			return
		}
	}
}

func (s *storage) take(m message) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Op {
	case "began":
		s.last[m.Lock] = m
		s.began[m.Lock] = append(s.began[m.Lock], m.Token)
	case "ended":
		s.ended[m.Lock] = append(s.ended[m.Lock], m)
	case "write":
		if m.Token < s.highest[m.Lock] {
			s.refused++
			return answer{Stale: true}
		}
		s.highest[m.Lock] = m.Token
		s.accepted[m.Lock] = append(s.accepted[m.Lock], m.Token)
	}
	return answer{}
}

// holder returns the process that was granted one of the locks last, or leads.
func (s *storage) holder(i int) (process int, ok bool) {
	name := fmt.Sprint("lock-", i)
	if i == locks {
		name = election
	}
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

func (s *storage) verdict() verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := verdict{refused: s.refused}
	for _, tokens := range s.accepted {
		v.writes += len(tokens)
		for i := 1; i < len(tokens); i++ {
			if tokens[i] < tokens[i-1] {
				v.stale++
			}
		}
	}
	for _, tokens := range s.began {
		seen := slices.Sorted(slices.Values(tokens))
		v.shrunk += len(seen) - len(slices.Compact(seen))
	}
	for name, holds := range s.ended {
		s.judge(&v, name, holds)
	}
	return v
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
