package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

const syncTries = 9

// SyncTime measures how long one page takes to be durable in dir, which is made
// if need be: the median of a few. It costs some 100 KB of writes and leaves
// nothing.
func SyncTime(dir string) (median time.Duration, err error) {
	if _, err := Disk(dir); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(dir, "probe-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := os.Remove(f.Name()); err != nil { // it lives as long as it is open, killed or not
		return 0, err
	}
	page := make([]byte, blockSize)
	took := make([]time.Duration, 0, syncTries)
	// The first round makes the file, the second writes over it as the log does.
	for round := range byte(2) {
		took = took[:0]
		page[0] = round
		for i := range int64(syncTries) {
			start := time.Now()
			if _, err := f.WriteAt(page, i*blockSize); err != nil {
				return 0, fmt.Errorf("%s: %w", dir, err)
			}
			if err := (diskFile{f}).Datasync(); err != nil {
				return 0, fmt.Errorf("%s: fdatasync: %w", dir, err)
			}
			took = append(took, time.Since(start))
		}
	}
	slices.Sort(took)
	return took[syncTries/2], nil
}
