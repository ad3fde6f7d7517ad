package mqttcore

// filterSet holds the filters of one session. Most have a few, found fastest
// by looking; one that has thousands gets an index.
type filterSet struct {
	list  []string
	index map[string]int // place in list; nil: look
}

const filtersIndexed = 16

func (s *filterSet) len() int { return len(s.list) }

func (s *filterSet) find(f string) (int, bool) {
	if s.index != nil {
		i, ok := s.index[f]
		return i, ok
	}
	for i := range s.list {
		if s.list[i] == f {
			return i, true
		}
	}
	return 0, false
}

func (s *filterSet) has(f string) bool {
	_, ok := s.find(f)
	return ok
}

// add puts in a filter that is not there.
func (s *filterSet) add(f string) {
	s.list = append(s.list, f)
	switch {
	case s.index != nil:
		s.index[f] = len(s.list) - 1
	case len(s.list) > filtersIndexed:
		s.index = make(map[string]int, 2*len(s.list))
		for i, f := range s.list {
			s.index[f] = i
		}
	}
}

// remove takes a filter out; the last one takes its place.
func (s *filterSet) remove(f string) {
	i, ok := s.find(f)
	if !ok {
		return
	}
	last := len(s.list) - 1
	moved := s.list[last]
	s.list[i], s.list[last] = moved, ""
	s.list = s.list[:last]
	if s.index != nil {
		s.index[moved] = i
		delete(s.index, f)
	}
}
