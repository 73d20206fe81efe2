package weights

import (
	"math/bits"
	"slices"
	"sync"
)

// word is a float as its bits: of half or single precision.
type word interface{ ~uint16 | ~uint32 }

// mostValues is how many values a table may have.
const mostValues = 256

// set is a set of at most mostValues words, each with its place.
type set[T word] struct {
	slot [4 * mostValues]uint16 // 1 more than the place; 0 is a free slot
	vals []T
}

func slotOf[T word](v T) int { return int(uint32(v) * 0x9e3779b1 >> 22) }

// place is that of a word that is there.
func (s *set[T]) place(v T) byte {
	i := slotOf(v)
	for {
		p := s.slot[i]
		if s.vals[p-1] == v {
			return byte(p - 1)
		}
		i = (i + 1) & (len(s.slot) - 1)
	}
}

// add adds a word; false where there is no room for it.
func (s *set[T]) add(v T) bool {
	i := slotOf(v)
	for {
		p := s.slot[i]
		if p == 0 {
			break
		}
		if s.vals[p-1] == v {
			return true
		}
		i = (i + 1) & (len(s.slot) - 1)
	}
	if len(s.vals) == mostValues {
		return false
	}
	s.vals = append(s.vals, v)
	s.slot[i] = uint16(len(s.vals))
	return true
}

// addAll adds floats; -0 counts as 0, and with skip zeros are left out. It stops, and gives false, where there are too many.
func (s *set[T]) addAll(vs []T, skip bool) bool {
	last, seen := T(0), false
	for _, v := range vs {
		if v+v == 0 { // both zeros: the sign is shifted out
			if skip {
				continue
			}
			v = 0
		}
		if seen && v == last {
			continue
		}
		if !s.add(v) {
			return false
		}
		last, seen = v, true
	}
	return true
}

// order sorts the values from the least float to the greatest, so that a table does not depend on who came first.
func (s *set[T]) order() {
	sign := T(1) << (bits.Len64(uint64(^T(0))) - 1)
	key := func(v T) T {
		if v&sign != 0 {
			return ^v
		}
		return v | sign
	}
	slices.SortFunc(s.vals, func(a, b T) int {
		if key(a) < key(b) {
			return -1
		}
		return 1
	})
	vals := s.vals
	*s = set[T]{vals: make([]T, 0, len(vals))}
	for _, v := range vals {
		s.add(v)
	}
}

// groups says how elements share tables: the places of an axis fall into count groups of neighbours.
type groups struct {
	axis  int
	count int64
	run   int64 // elements that lie side by side and are of one group; run r is of group r % count
}

func groupsOf(shape []int64, axis int, count int64) groups {
	run := shape[axis] / count
	for _, d := range shape[axis+1:] {
		run *= d
	}
	return groups{axis, count, run}
}

// first collects the values of the first group; nil where they are too many.
func first[T word](v []T, g groups, skip bool) *set[T] {
	s := &set[T]{}
	for from := int64(0); from < int64(len(v)); from += g.run * g.count {
		if !s.addAll(v[from:from+g.run], skip) {
			return nil
		}
	}
	return s
}

// census collects the values of each group, sorted; nil where one has too many.
func census[T word](v []T, g groups, skip bool) []*set[T] {
	if g.count == 1 {
		return whole(v, skip)
	}
	out := make([]*set[T], g.count)
	ok := parts(int(g.count), int(int64(len(v))/g.count), func(from, to int) bool {
		for i := from; i < to; i++ {
			out[i] = &set[T]{}
		}
		for at := int64(0); at < int64(len(v)); at += g.run * g.count {
			for i := from; i < to; i++ {
				start := at + int64(i)*g.run
				if !out[i].addAll(v[start:start+g.run], skip) {
					return false
				}
			}
		}
		for i := from; i < to; i++ {
			out[i].order()
		}
		return true
	})
	if !ok {
		return nil
	}
	return out
}

// whole is the census of all elements as one group.
func whole[T word](v []T, skip bool) []*set[T] {
	all := &set[T]{}
	// Most weights have too many values, which few elements tell.
	if !all.addAll(v[:min(len(v), 4096)], skip) {
		return nil
	}
	var mu sync.Mutex
	ok := parts(len(v), 1, func(from, to int) bool {
		s := &set[T]{}
		if !s.addAll(v[from:to], skip) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		return all.addAll(s.vals, skip)
	})
	if !ok {
		return nil
	}
	all.order()
	return []*set[T]{all}
}
