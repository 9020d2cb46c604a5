package wal

// TryLock reports whether no Append is under way.
func (l *Log) TryLock() bool {
	ok := l.mu.TryLock()
	if ok {
		l.mu.Unlock()
	}
	return ok
}

// Pinned reports whether a Load reads files.
func (l *Log) Pinned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.pins > 0 {
			return true
		}
	}
	return false
}

// Step has the log do what Ahead does in a goroutine only when the result is called, for tests that repeat: it drops one
// segment that is gone, and reports whether there was one.
func (l *Log) Step() func() bool {
	l.ahead = newAhead(l)
	return l.ahead.drop
}
