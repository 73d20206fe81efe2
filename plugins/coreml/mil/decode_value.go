package mil

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

func (d *decoder) value(b []byte) (v Value, err error) {
	var immediate []byte
	given := false
	err = d.fields(b, func(f field) (err error) {
		switch f.num {
		case 2:
			v.Type, err = d.valueType(f.bytes)
			return err
		case 3:
			immediate, given = f.bytes, true
		case 5:
			v.Blob = true
			return d.fields(f.bytes, func(f field) error {
				switch {
				case f.num == 2:
					v.Offset = f.n
				case string(f.bytes) != weightsReference:
					d.oddf("a constant is in the file %q, not in %q", f.bytes, weightsReference)
				}
				return nil
			})
		default:
			d.oddf("a value has a field %d", f.num)
		}
		return nil
	})
	if err != nil || v.Blob {
		return v, err
	}
	if !given {
		return v, fmt.Errorf("a constant has no value")
	}
	return v, d.fields(immediate, func(f field) error {
		switch f.num {
		case 1:
			return d.tensorValue(f.bytes, &v)
		case 3:
			return d.fields(f.bytes, func(f field) error {
				one, err := d.value(f.bytes)
				v.Texts = append(v.Texts, one.Texts...)
				return err
			})
		}
		return fmt.Errorf("a constant is of a kind %d", f.num)
	})
}

// tensorValue reads the elements of an immediate constant into bytes, row-major and little-endian.
func (d *decoder) tensorValue(b []byte, v *Value) error {
	return d.fields(b, func(list field) error {
		return d.fields(list.bytes, func(f field) error {
			switch list.num {
			case 1, 3, 7: // floats, truths and bytes are what they are
				if f.typ == protowire.Fixed32Type {
					v.Data = le.AppendUint32(v.Data, uint32(f.n))
				} else if f.typ == protowire.VarintType {
					v.Data = append(v.Data, byte(f.n))
				} else {
					v.Data = append(v.Data, f.bytes...)
				}
			case 2, 5:
				width := 4
				if list.num == 5 {
					width = 8
				}
				if f.typ == protowire.VarintType {
					v.Data = appendInt(v.Data, f.n, width)
				}
				for p := f.bytes; len(p) > 0; {
					x, n := protowire.ConsumeVarint(p)
					if n < 0 {
						return protowire.ParseError(n)
					}
					v.Data, p = appendInt(v.Data, x, width), p[n:]
				}
			case 4:
				v.Texts = append(v.Texts, string(f.bytes))
			default:
				return fmt.Errorf("a constant has elements of a kind %d", list.num)
			}
			return nil
		})
	})
}

func appendInt(b []byte, x uint64, width int) []byte {
	if width == 8 {
		return le.AppendUint64(b, x)
	}
	return le.AppendUint32(b, uint32(x))
}

func (d *decoder) description(b []byte, m *Model) error {
	return d.fields(b, func(f field) error {
		switch f.num {
		case 1, 10, 13:
			x, err := d.feature(f.bytes)
			switch f.num {
			case 1:
				m.Inputs = append(m.Inputs, x)
			case 10:
				m.Outputs = append(m.Outputs, x)
			default:
				m.States = append(m.States, x)
			}
			return err
		case 11:
			m.Label = string(f.bytes)
		case 12:
			m.Chances = string(f.bytes)
		case 100:
			return d.metadata(f.bytes, &m.Metadata)
		default:
			d.oddf("the description has a field %d", f.num)
		}
		return nil
	})
}

func (d *decoder) metadata(b []byte, m *Metadata) error {
	return d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			m.Description = string(f.bytes)
		case 2:
			m.Version = string(f.bytes)
		case 3:
			m.Author = string(f.bytes)
		case 4:
			m.Licence = string(f.bytes)
		case 100:
			k, v, err := d.entry(f.bytes)
			if m.User == nil {
				m.User = map[string]string{}
			}
			m.User[strings.Clone(k)] = string(v)
			return err
		}
		return nil
	})
}

func (d *decoder) feature(b []byte) (x Feature, err error) {
	err = d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			x.Name = string(f.bytes)
		case 2:
			x.Doc = string(f.bytes)
		case 3:
			return d.featureType(f.bytes, &x)
		}
		return nil
	})
	return x, err
}

func (d *decoder) featureType(b []byte, x *Feature) error {
	return d.fields(b, func(f field) error {
		switch f.num {
		case 2: // a double: a threshold of a detector
		case 3:
			x.Text = true
		case 4:
			return d.image(f.bytes, x)
		case 5:
			return d.array(f.bytes, x)
		case 6:
			x.Dictionary = true
		case 8:
			return d.fields(f.bytes, func(f field) error { return d.array(f.bytes, x) })
		case 1000:
			if f.n != 0 && x.Name != iouName && x.Name != leastName {
				d.oddf("%s is optional", x.Name)
			}
		default:
			d.oddf("%s is of a kind %d", x.Name, f.num)
		}
		return nil
	})
}

// lengths reads a list of varints, packed or not.
func lengths(f field, to []int64) []int64 {
	if f.typ == protowire.VarintType {
		return append(to, int64(f.n))
	}
	for p := f.bytes; len(p) > 0; {
		x, n := protowire.ConsumeVarint(p)
		if n < 0 {
			return append(to, math.MinInt64)
		}
		to, p = append(to, int64(x)), p[n:]
	}
	return to
}

func (d *decoder) array(b []byte, x *Feature) error {
	err := d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			x.Type.Shape = lengths(f, x.Type.Shape)
		case 2:
			x.Type.DataType = 0
			for t, n := range featureTypes {
				if n == f.n {
					x.Type.DataType = t
				}
			}
			if x.Type.DataType == 0 {
				d.oddf("%s has elements of a type %d", x.Name, f.n)
			}
		case 21:
			return d.fields(f.bytes, func(f field) error {
				var s []int64
				err := d.fields(f.bytes, func(f field) error {
					s = lengths(f, s)
					return nil
				})
				x.Enumerated = append(x.Enumerated, s)
				return err
			})
		case 31:
			return d.fields(f.bytes, func(f field) error { return d.sizeRange(f.bytes, x) })
		}
		return nil
	})
	for _, s := range x.Enumerated {
		if len(s) != len(x.Type.Shape) {
			return fmt.Errorf("%s has shapes of %d and %d axes", x.Name, len(x.Type.Shape), len(s))
		}
	}
	if x.Upper != nil && len(x.Type.Shape) == 0 {
		x.Type.Shape = slices.Repeat([]int64{-1}, len(x.Upper))
	}
	if err == nil && x.Upper != nil && len(x.Upper) != len(x.Type.Shape) {
		err = fmt.Errorf("%s has ranges of %d axes, and %d axes", x.Name, len(x.Upper), len(x.Type.Shape))
	}
	return err
}

func (d *decoder) sizeRange(b []byte, x *Feature) error {
	low, high := int64(0), int64(0)
	err := d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			low = int64(f.n)
		case 2:
			high = int64(f.n)
		}
		return nil
	})
	x.Lower, x.Upper = append(x.Lower, low), append(x.Upper, high)
	return err
}

func (d *decoder) image(b []byte, x *Feature) error {
	w, h := int64(0), int64(0)
	var ranges []field
	err := d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			w = int64(f.n)
		case 2:
			h = int64(f.n)
		case 3:
			x.Image = ColorSpace(f.n)
		case 21:
			return d.fields(f.bytes, func(f field) error {
				s := []int64{1, 0, 0, 0}
				err := d.fields(f.bytes, func(f field) error {
					if f.num == 1 {
						s[3] = int64(f.n)
					} else {
						s[2] = int64(f.n)
					}
					return nil
				})
				x.Enumerated = append(x.Enumerated, s)
				return err
			})
		case 31:
			return d.fields(f.bytes, func(f field) error {
				ranges = append(ranges, f)
				return nil
			})
		}
		return nil
	})
	channels := int64(3)
	if x.Image == Gray {
		channels = 1
	}
	x.Type = Type{DataType: Float32, Shape: []int64{1, channels, h, w}}
	for _, s := range x.Enumerated {
		s[1] = channels
	}
	if len(ranges) == 0 || err != nil {
		return err
	}
	x.Lower, x.Upper = []int64{1, channels, h, w}, []int64{1, channels, h, w}
	for _, f := range ranges {
		var one Feature
		if err := d.sizeRange(f.bytes, &one); err != nil {
			return err
		}
		at := 3
		if f.num == 2 {
			at = 2
		}
		x.Lower[at], x.Upper[at] = one.Lower[0], one.Upper[0]
	}
	return nil
}
