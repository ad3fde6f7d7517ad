package modbus

import (
	"cmp"
	"slices"
	"time"
)

// block is one planned read: a run of registers, or of bits, and the points
// that lie in it.
type block struct {
	question
	points []*point // by address
	every  time.Duration
	due    time.Time // its read is due from then on; the zero time is due at once
	known  bool      // the device has answered it
	busy   int       // times in a row that the device was too busy
	silent int       // times it alone found no answer while the device gave others
	bad    bool      // the device says that it has no such register

	badPause time.Duration // until it is asked again while bad
}

// plan merges the points of a device into reads: points of the same table and
// the same period whose registers touch or overlap, up to the most that the
// device gives at once. A value is never cut.
func plan(c DeviceConfig, points []*point) []*block {
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b *point) int {
		return cmp.Or(
			cmp.Compare(a.Table, b.Table),
			cmp.Compare(a.Every, b.Every),
			cmp.Compare(a.Address, b.Address),
		)
	})
	var blocks []*block
	var last *block
	for _, p := range sorted {
		if last != nil && last.points[0].Table == p.Table && last.every == p.Every {
			begin, end := int(last.address), int(last.address)+int(last.count)
			newEnd := max(end, int(p.Address)+p.Width())
			if int(p.Address) <= end && newEnd-begin <= c.most(p.Table) {
				last.points = append(last.points, p)
				last.count = uint16(newEnd - begin)
				continue
			}
		}
		last = newBlock([]*point{p}, p.Every)
		blocks = append(blocks, last)
	}
	return blocks
}

// newBlock covers points, which are sorted by address.
func newBlock(points []*point, every time.Duration) *block {
	begin, end := int(points[0].Address), 0
	for _, p := range points {
		end = max(end, int(p.Address)+p.Width())
	}
	return &block{
		question: question{points[0].Table.reads(), points[0].Address, uint16(end - begin)},
		points:   points,
		every:    every,
	}
}

// split halves the block between two of its points, to find the one that the
// device does not know. A block of one point stays as it is.
func (b *block) split() []*block {
	if len(b.points) < 2 {
		return []*block{b}
	}
	half := len(b.points) / 2
	return []*block{newBlock(b.points[:half:half], b.every), newBlock(b.points[half:], b.every)}
}
