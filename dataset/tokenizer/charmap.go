package tokenizer

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/apparentlymart/go-textseg/v15/textseg"
)

// charmap is SentencePiece's precompiled map of characters: a trie of what is replaced, whose values are places in a text
// of replacements that end in a zero byte. The trie is the double array of Yata's darts-clone: of a unit, bit 8 tells of
// a value, bits 10 to 31 are an offset, in units of 256 when bit 9 is set, and the low byte is the label; a unit that
// holds a value has it in its low 31 bits.
type charmap struct {
	units []uint32
	texts []byte
}

// longestGrapheme is the length in bytes from which a grapheme is looked up code point by code point.
const longestGrapheme = 6

// maxGrapheme bounds how far a grapheme is followed: a text of nothing but combining marks would take the square of its
// length otherwise.
const maxGrapheme = 1 << 8

func parseCharmap(text string) (normalizer, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("its precompiled character map is not base64: %w", err)
	}
	if len(b) < 4 {
		return nil, errors.New("its precompiled character map is cut off")
	}
	size := int64(binary.LittleEndian.Uint32(b))
	if size%4 != 0 || size > int64(len(b)-4) || size == 0 {
		return nil, fmt.Errorf("its precompiled character map says that its trie has %d bytes, but there are %d", size, len(b)-4)
	}
	m := &charmap{units: make([]uint32, size/4), texts: b[4+size:]}
	for i := range m.units {
		m.units[i] = binary.LittleEndian.Uint32(b[4+4*i:])
	}
	return m.normalize, nil
}

// normalize replaces grapheme by grapheme, as Hugging Face's library does: what the trie knows of the beginning of a
// grapheme stands for all of it.
func (m *charmap) normalize(s string) string {
	var out strings.Builder
	out.Grow(len(s))
	for len(s) > 0 {
		n := 1
		if s[0] >= utf8.RuneSelf || len(s) > 1 && (s[1] >= utf8.RuneSelf || s[0] == '\r') {
			// Between ASCII characters there is always a boundary, but in a line's end.
			end := min(len(s), maxGrapheme)
			for end < len(s) && !utf8.RuneStart(s[end]) {
				end--
			}
			n, _, _ = textseg.ScanGraphemeClusters([]byte(s[:end]), true)
			n = max(n, runeLen(s[0]))
		}
		g := s[:n]
		s = s[n:]
		if len(g) < longestGrapheme {
			if t, ok := m.find(g); ok {
				bound(out.Len() + len(t))
				out.Write(t)
				continue
			}
		}
		for len(g) > 0 {
			n := runeLen(g[0])
			if t, ok := m.find(g[:n]); ok {
				bound(out.Len() + len(t))
				out.Write(t)
			} else {
				out.WriteString(g[:n])
			}
			g = g[n:]
		}
	}
	return out.String()
}

// find gives what stands for the shortest beginning of key that the trie knows.
func (m *charmap) find(key string) ([]byte, bool) {
	unit := m.units[0]
	at := offset(unit)
	for i := 0; i < len(key) && key[i] != 0; i++ {
		at ^= uint32(key[i])
		if at >= uint32(len(m.units)) {
			return nil, false // a damaged map
		}
		unit = m.units[at]
		if unit&(1<<31|0xff) != uint32(key[i]) {
			return nil, false
		}
		at ^= offset(unit)
		if unit>>8&1 == 0 {
			continue
		}
		if at >= uint32(len(m.units)) {
			return nil, false
		}
		place := m.units[at] & (1<<31 - 1)
		if place > uint32(len(m.texts)) {
			return nil, false
		}
		text := m.texts[place:]
		if k := bytes.IndexByte(text, 0); k >= 0 {
			text = text[:k]
		}
		return text, true
	}
	return nil, false
}

func offset(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }
