package wal

import (
	"fmt"
	"sync"
)

// ahead writes a spare file while there is time, so that a new segment finds one.
type ahead struct {
	l       *Log
	wake    chan struct{}
	quit    chan struct{}
	stopped sync.WaitGroup
}

func startAhead(l *Log) *ahead {
	a := &ahead{l: l, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	a.stopped.Go(a.run)
	a.poke()
	return a
}

func (a *ahead) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *ahead) stop() {
	select {
	case <-a.quit:
	default:
		close(a.quit)
	}
	a.stopped.Wait()
}

func (a *ahead) run() {
	for {
		select {
		case <-a.quit:
			return
		case <-a.wake:
			a.prepare()
		}
	}
}

// prepare makes one spare file if there is none. Whatever goes wrong with it is for the Append to find out that needs
// the file: by then the disk may have room again.
func (a *ahead) prepare() {
	l := a.l
	l.mu.Lock()
	if len(l.spares) > 0 || l.err != nil || l.closed {
		l.mu.Unlock()
		return
	}
	number := l.number()
	l.mu.Unlock()

	fresh, spare := fmt.Sprintf("%016x%s", number, freshSuffix), fmt.Sprintf("%016x%s", number, spareSuffix)
	if !a.fill(fresh) {
		_ = l.fs.Remove(l.path(fresh)) // what stays is removed by the next Open
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.closed || len(l.spares) >= spareFiles || l.fs.Rename(l.path(fresh), l.path(spare)) != nil {
		_ = l.fs.Remove(l.path(fresh))
		return
	}
	l.spares = append(l.spares, spare)
}

// fill writes a file of zeros, slowly: each piece is synced before the next, so that the log's own syncs never wait for
// more than one.
func (a *ahead) fill(name string) bool {
	const piece = 256 << 10
	f, err := a.l.fs.Create(a.l.path(name))
	if err != nil {
		return false
	}
	defer f.Close()
	size := a.l.config.SegmentBytes
	if f.Allocate(size) != nil {
		return false
	}
	zeros := make([]byte, piece)
	for at := int64(0); at < size; at += piece {
		select {
		case <-a.quit:
			return false
		default:
		}
		if _, err := f.WriteAt(zeros[:min(piece, size-at)], at); err != nil || f.Sync() != nil {
			return false
		}
	}
	return true
}
