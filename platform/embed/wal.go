package embed

import (
	"sync"

	"go.etcd.io/etcd/server/v3/storage/wal"
)

// walSegment is the size of a file of the write-ahead log. etcd allocates two of them per member ahead of time; with its
// own 64 MB, three members take 384 MB of disk before anything is written.
const walSegment = 8 << 20

// shrinkWAL sets the size, which etcd has as a variable for the whole process: once, before the first server could read
// it.
var shrinkWAL = sync.OnceFunc(func() { wal.SegmentSizeBytes = walSegment })
