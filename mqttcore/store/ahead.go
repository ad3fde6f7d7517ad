package store

import "fmt"

const (
	// aheadBytes is how far zeros are written ahead of small commits.
	aheadBytes = 128 << 10
	// aheadUpTo is what a small commit is: a larger one costs no more without.
	aheadUpTo = 12 << 10
)

// writeAhead fills what lies before the next frames of g with zeros where nothing
// was ever written. There the first write of each page changes what the file
// system knows of the file: of its own it then writes three times as much as a
// lone commit, and flushes twice. One write for all pages to come has that done
// once, with the sync that is due anyhow. size is that of the commit, which is
// written and not yet synced. Of a segment that is used again nothing is left to
// fill.
func (g *segment) writeAhead(size int64) (written int64, err error) {
	if g.off <= g.filled || size > aheadUpTo {
		return 0, nil
	}
	n := min(aheadBytes-g.off%aheadBytes, g.size-g.off)
	// Page by page: Linux would keep what was written together as one large
	// page, and account for all of it with each small write.
	for off := g.off; off < g.off+n; off += blockSize {
		if _, err := g.file.WriteAt(zeroBlock[:], off); err != nil {
			return 0, fmt.Errorf("%s: write: %w", segName(g.id), err)
		}
	}
	g.filled = g.off + n
	return n, nil
}
