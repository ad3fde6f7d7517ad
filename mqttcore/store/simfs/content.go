package simfs

// pageSize is what a disk writes at once, and spoils at once.
const pageSize = 4096

type page = [pageSize]byte

var zeros page

// content is what a file holds. A page never changes once it is there: files,
// images and the states of a crash share them, so that a state costs what it
// differs in.
type content struct {
	pages []*page // nil = zeros
	size  int64
}

func contentOf(data []byte) (c content) {
	c.put(append([]byte(nil), data...), 0)
	return c
}

func (c *content) clone() content {
	return content{append([]*page(nil), c.pages...), c.size}
}

// grow makes the file at least so long.
func (c *content) grow(size int64) {
	c.size = max(c.size, size)
	for int64(len(c.pages))*pageSize < c.size {
		c.pages = append(c.pages, nil)
	}
}

// put writes p at off; the file grows where it must. p belongs to the file from
// now on, and must not change.
func (c *content) put(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	c.grow(off + int64(len(p)))
	for len(p) > 0 {
		i, at := off/pageSize, int(off%pageSize)
		n := min(len(p), pageSize-at)
		if n == pageSize {
			c.pages[i] = (*page)(p)
		} else {
			changed := *c.page(i)
			copy(changed[at:], p[:n])
			c.pages[i] = &changed
		}
		p, off = p[n:], off+int64(n)
	}
}

func (c *content) page(i int64) *page {
	if i >= int64(len(c.pages)) || c.pages[i] == nil {
		return &zeros
	}
	return c.pages[i]
}

// read fills p from off on, as far as the file goes.
func (c *content) read(p []byte, off int64) (n int) {
	if off >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-off)]
	for n < len(p) {
		at := off + int64(n)
		n += copy(p[n:], c.page(at / pageSize)[at%pageSize:])
	}
	return n
}

func (c *content) bytes() []byte {
	b := make([]byte, c.size)
	c.read(b, 0)
	return b
}
