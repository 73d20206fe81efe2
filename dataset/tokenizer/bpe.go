package tokenizer

import (
	"bytes"
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// bpe joins neighbours in the order in which training joined them (Sennrich et al. 2016).
type bpe struct {
	vocab          map[string]int64
	merges         map[[2]int64]merge
	unk            int64 // -1: none
	fuse, bytes    bool
	whole          bool // a word that is a token as a whole is not taken apart
	prefix, suffix string
}

type merge struct {
	rank int
	id   int64
}

// readMerges reads "a b" or ["a", "b"].
func (m *bpe) readMerges(b json.RawMessage) error {
	// As many as there are in a usual file of this length: a hint, not a promise.
	m.merges = make(map[[2]int64]merge, min(bytes.Count(b, []byte(",")), len(b)/16))
	rank := 0
	err := elements(b, func(part []byte) error {
		var p [2]string
		if line, ok := text(part); ok {
			if p[0], p[1], ok = strings.Cut(line, " "); !ok {
				return fmt.Errorf("its merge %q is no pair", clip(line))
			}
		} else if json.Unmarshal(part, &p) != nil {
			return errMerges
		}
		a, ok1 := m.vocab[p[0]]
		b, ok2 := m.vocab[p[1]]
		id, ok3 := m.vocab[p[0]+trimmed(p[1], m.prefix)]
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("its merge of %q and %q is not in the vocabulary", clip(p[0]), clip(p[1]))
		}
		m.merges[[2]int64{a, b}] = merge{rank, id}
		rank++
		return nil
	})
	if err != nil && rank == 0 && !strings.HasPrefix(err.Error(), "its merge") {
		return errMerges
	}
	return err
}

var errMerges = errors.New("its merges are neither pairs nor lines")

// symbol is a token of a word; the live ones are linked.
type symbol struct {
	id         int64
	prev, next int // -1 at the ends
	dead       bool
}

// join is a merge that may still be possible.
type join struct {
	merge
	at int
}

type joins []join

func (j joins) Len() int { return len(j) }
func (j joins) Less(a, b int) bool {
	return j[a].rank < j[b].rank || j[a].rank == j[b].rank && j[a].at < j[b].at
}
func (j joins) Swap(a, b int) { j[a], j[b] = j[b], j[a] }
func (j *joins) Push(x any)   { *j = append(*j, x.(join)) }
func (j *joins) Pop() any {
	last := (*j)[len(*j)-1]
	*j = (*j)[:len(*j)-1]
	return last
}

func (m *bpe) encode(dst []int64, word string) []int64 {
	if m.whole {
		if id, ok := m.vocab[word]; ok {
			return append(dst, id)
		}
	}
	symbols := m.symbols(word)
	var queue joins
	offer := func(at int) {
		if at < 0 || symbols[at].next < 0 {
			return
		}
		if g, ok := m.merges[[2]int64{symbols[at].id, symbols[symbols[at].next].id}]; ok {
			queue = append(queue, join{g, at})
		}
	}
	for i := range symbols {
		offer(i)
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		j := heap.Pop(&queue).(join)
		s := &symbols[j.at]
		if s.dead || s.next < 0 {
			continue
		}
		after := &symbols[s.next]
		if g, ok := m.merges[[2]int64{s.id, after.id}]; !ok || g.id != j.id {
			continue // one of both was merged otherwise meanwhile
		}
		s.id, s.next, after.dead = j.id, after.next, true
		if s.next >= 0 {
			symbols[s.next].prev = j.at
		}
		for _, at := range []int{s.prev, j.at} {
			before := len(queue)
			if offer(at); len(queue) > before {
				heap.Fix(&queue, before)
			}
		}
	}
	for i := range symbols {
		if !symbols[i].dead {
			dst = append(dst, symbols[i].id)
		}
	}
	return dst
}

// symbols are the characters of a word, or what stands for them.
func (m *bpe) symbols(word string) []symbol {
	out := make([]symbol, 0, len(word))
	add := func(id int64) {
		if n := len(out); n > 0 {
			out[n-1].next = n
		}
		out = append(out, symbol{id: id, prev: len(out) - 1, next: -1})
	}
	unknown := false // the last one was
	for i := 0; i < len(word); {
		n := i + runeLen(word[i])
		key := word[i:n]
		if i > 0 && m.prefix != "" {
			key = m.prefix + key
		}
		if n == len(word) && m.suffix != "" {
			key += m.suffix
		}
		if id, ok := m.vocab[key]; ok {
			add(id)
			unknown = false
		} else if !m.fallback(word[i:n], add) && m.unk >= 0 {
			if !m.fuse || !unknown {
				add(m.unk)
			}
			unknown = true
		}
		i = n
	}
	return out
}

// fallback adds the bytes of a character, if all of them are tokens.
func (m *bpe) fallback(s string, add func(int64)) bool {
	if !m.bytes {
		return false
	}
	var ids [4]int64
	for i := range len(s) {
		id, ok := m.vocab[fmt.Sprintf("<0x%02X>", s[i])]
		if !ok {
			return false
		}
		ids[i] = id
	}
	for _, id := range ids[:len(s)] {
		add(id)
	}
	return true
}
