package wal

import (
	"fmt"
	"sync"
	"time"
)

// ahead does beside the Appends what takes its time: it removes the files of segments that are gone, many at once when a
// group with a large log has saved a snapshot, and writes a spare file, so that a new segment finds one.
type ahead struct {
	l       *Log
	wake    chan struct{}
	quit    chan struct{}
	stopped sync.WaitGroup
}

func newAhead(l *Log) *ahead {
	return &ahead{l: l, wake: make(chan struct{}, 1), quit: make(chan struct{})}
}

func startAhead(l *Log) *ahead {
	a := newAhead(l)
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
			a.clear()
			a.prepare()
		}
	}
}

// dropPause is what is waited between two files. To give back the blocks of many at once keeps a disk busy that is told of
// them (discard), and every sync of the log with it.
const dropPause = 20 * time.Millisecond

// clear drops the segments that are gone, one after the other.
func (a *ahead) clear() {
	for a.drop() {
		select {
		case <-a.quit: // the next Open goes on with it
			return
		case <-time.After(dropPause):
		}
	}
}

// drop drops the first segment that is gone, and reports whether there was one. What goes wrong with it ends the log, as in
// Append: which names are there is not known any more.
func (a *ahead) drop() bool {
	l := a.l
	l.mu.Lock()
	if len(l.gone) == 0 || l.err != nil || l.closed {
		l.mu.Unlock()
		return false
	}
	s := l.gone[0]
	spare := l.spareName(s)
	l.mu.Unlock()

	err := l.drop(s, spare)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.dropped(spare)
	} else if l.err == nil {
		l.err = err
	}
	return err == nil
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
