package wal_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// BenchmarkAppend is one Append, synced, of some entries of 128 bytes; compacted as a host would.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			l, err := wal.Open(disk.OS(), filepath.Join(b.TempDir(), "wal"), wal.Config{Ahead: true})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			entries, term, next := make([]*raftpb.Entry, n), uint64(1), uint64(1)
			data := make([]byte, 128)
			b.ReportAllocs()
			for b.Loop() {
				for i := range entries {
					index := next
					entries[i] = &raftpb.Entry{Index: &index, Term: &term, Data: data}
					next++
				}
				u := wal.Update{Group: 1, Entries: entries, HardState: &raftpb.HardState{Term: &term, Commit: &next}}
				if next > 200000 && next%100000 < uint64(n) {
					u.Mark = &wal.Mark{Index: next - 50000, Term: 1}
				}
				if err := l.Append([]wal.Update{u}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReplay opens a log of 350,000 commands of 128 bytes, with one command and with 64 of them in an entry.
func BenchmarkReplay(b *testing.B) {
	const commands = 350_000
	for _, pack := range []int{1, 64} {
		b.Run(fmt.Sprintf("commands-per-entry=%d", pack), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "wal")
			l, err := wal.Open(disk.OS(), path, wal.Config{})
			if err != nil {
				b.Fatal(err)
			}
			term, data := uint64(1), make([]byte, 128*pack)
			next := uint64(1)
			for next <= uint64(commands/pack) {
				var entries []*raftpb.Entry
				for range 16 { // entries in an append, so that making the log takes no minute
					index := next
					entries = append(entries, &raftpb.Entry{Index: &index, Term: &term, Data: data})
					next++
				}
				if err := l.Append([]wal.Update{{Group: 1, Entries: entries}}); err != nil {
					b.Fatal(err)
				}
			}
			l.Close()
			b.ReportAllocs()
			for b.Loop() {
				l, err := wal.Open(disk.OS(), path, wal.Config{})
				if err != nil {
					b.Fatal(err)
				}
				if r, err := l.Load(1); err != nil || len(r.Entries) != int(next-1) {
					b.Fatalf("%d entries, %v", len(r.Entries), err)
				}
				l.Close()
			}
		})
	}
}
