package pluginv1

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"
)

// DecodeValue reads a Value of a type. Unlike ctymsgpack.Unmarshal it neither panics on damaged bytes, nor allocates what
// they only promise to hold, nor takes an object without attributes for any object.
func DecodeValue(v *Value, t cty.Type) (out cty.Value, err error) {
	b := v.GetMsgpack()
	if err := wellFormed(b); err != nil {
		return cty.NilVal, err
	}
	defer func() {
		if p := recover(); p != nil { // lists whose elements differ in type
			out, err = cty.NilVal, fmt.Errorf("the value is no %s: %v", t.FriendlyName(), p)
		}
	}()
	if out, err = ctymsgpack.Unmarshal(b, t); err != nil {
		return cty.NilVal, err
	}
	if errs := out.Type().TestConformance(t); len(errs) > 0 {
		return cty.NilVal, errs[0]
	}
	return out, cty.Walk(out, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.Type() == cty.Number && v.IsKnown() && !v.IsNull() {
			// Writing out a number with a huge exponent takes minutes and gigabytes.
			if exp := v.AsBigFloat().MantExp(nil); exp > maxExponent || exp < -maxExponent {
				return false, errors.New("a number is out of bounds")
			}
		}
		return true, nil
	})
}

// maxExponent of a number, in bits: far beyond what a float64 can hold.
const maxExponent = 1 << 14

var errMsgpack = errors.New("the value is no MessagePack")

// wellFormed walks over one MessagePack object that must fill b, so that every length in it is known to be true.
func wellFormed(b []byte) error {
	for left := uint64(1); left > 0; left-- {
		if len(b) == 0 {
			return errMsgpack
		}
		c := b[0]
		b = b[1:]
		var skip, items uint64
		width := 0 // of a length that follows
		switch {
		case c <= 0x7f, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3: // small integers, nil, booleans
		case c <= 0x8f:
			items = 2 * uint64(c&0x0f)
		case c <= 0x9f:
			items = uint64(c & 0x0f)
		case c <= 0xbf:
			skip = uint64(c & 0x1f)
		case c >= 0xc4 && c <= 0xc6: // bin
			width = 1 << (c - 0xc4)
		case c >= 0xc7 && c <= 0xc9: // ext, with a type byte
			width, skip = 1<<(c-0xc7), 1
		case c == 0xca, c == 0xcb: // floats
			skip = 4 << (c - 0xca)
		case c >= 0xcc && c <= 0xcf:
			skip = 1 << (c - 0xcc)
		case c >= 0xd0 && c <= 0xd3:
			skip = 1 << (c - 0xd0)
		case c >= 0xd4 && c <= 0xd8: // fixext, with a type byte
			skip = 1 + 1<<(c-0xd4)
		case c >= 0xd9 && c <= 0xdb: // str
			width = 1 << (c - 0xd9)
		case c == 0xdc, c == 0xdd: // array
			width = 2 << (c - 0xdc)
		case c == 0xde, c == 0xdf: // map
			width = 2 << (c - 0xde)
		default: // 0xc1 is never used
			return errMsgpack
		}
		if width > 0 {
			if len(b) < width {
				return errMsgpack
			}
			var n [8]byte
			copy(n[8-width:], b)
			b = b[width:]
			switch length := binary.BigEndian.Uint64(n[:]); {
			case c >= 0xde:
				items = 2 * length
			case c >= 0xdc:
				items = length
			default:
				skip += length
			}
		}
		if skip > uint64(len(b)) {
			return errMsgpack
		}
		b = b[skip:]
		if left += items; left-1 > uint64(len(b)) { // each takes a byte at least
			return errMsgpack
		}
	}
	if len(b) > 0 {
		return errMsgpack
	}
	return nil
}
