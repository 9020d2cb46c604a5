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
