package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"
)

// What is promised of a member's memory after 1,000,000 writes over 10,000 keys, and of its disk.
const (
	memoryWrites = 1_000_000
	memoryMost   = 150 << 20
	diskMost     = 256 << 20
)

// memory makes a million writes with everything at its defaults and says what each member has resident, and on disk.
func memory(ctx context.Context, s settings, out io.Writer) error {
	writes := memoryWrites
	if s.short {
		writes = 5000
	}
	kept := true
	for _, engine := range s.engines {
		if engine == bare {
			continue
		}
		c, err := startCluster(ctx, engine, filepath.Join(s.dir, "memory"), nil)
		if err != nil {
			return err
		}
		begun := time.Now()
		err = writeMany(ctx, c, writes, value)
		fmt.Fprintf(out, "%s: %d writes in %.1f s\n", engine, writes, time.Since(begun).Seconds())
		for _, p := range c.processes {
			now, most := rssOf(p.pid())
			disk, diskErr := sizeOf(p.spec.Dir)
			err = errors.Join(err, diskErr)
			fmt.Fprintf(out, "  %s: resident %s, at most %s; on disk %s\n", p.spec.Name, mebibytes(now), mebibytes(most), mebibytes(disk))
			if engine == holdfast {
				kept = kept && most <= memoryMost && disk <= diskMost
			}
		}
		c.close()
		if err != nil {
			return err
		}
	}
	if s.short {
		return nil
	}
	fmt.Fprintf(out, "promised of holdfast: at most %s resident and %s on disk: %s\n", mebibytes(memoryMost), mebibytes(diskMost),
		map[bool]string{true: "kept", false: "NOT KEPT"}[kept])
	if !kept {
		return errBroken
	}
	return nil
}

// sizeOf returns how many bytes the files below dir have.
func sizeOf(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was there a moment ago
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err //nolint:wrapcheck // says which file
}
