package store

import "fmt"

const (
	// aheadBytes is how far zeros are written ahead of small commits.
	aheadBytes = 128 << 10
	// aheadUpTo is what a small commit is: for larger ones it would not pay.
	aheadUpTo = 16 << 10
)

var aheadZeros [aheadBytes]byte

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
	if _, err := g.file.WriteAt(aheadZeros[:n], g.off); err != nil {
		return 0, fmt.Errorf("%s: write: %w", segName(g.id), err)
	}
	g.filled = g.off + n
	return n, nil
}
