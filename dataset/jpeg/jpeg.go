// Package jpeg decodes the JPEG files that data sets are made of, to the pixels of the IJG's library, which Pillow,
// OpenCV and torchvision use: baseline, extended sequential and progressive files (ITU-T T.81) with Huffman codes, eight
// bits, and one component or three of which the last two may have half the width or height.
//
// It is for many files one after another, of which often only a part is read: a [Decoder] keeps its memory, and blocks
// outside of what is needed are not transformed. Anything else is [ErrUnsupported]; image/jpeg reads more kinds of
// files, forgives more mistakes, and has the last word on them.
package jpeg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
)

// ErrUnsupported is a file of another kind, or with a mistake: this package does not tell them apart.
var ErrUnsupported = errors.New("no JPEG file of the usual kinds, or a damaged one")

// Decoder decodes files one after another. The zero value is ready. It is not for several goroutines at once.
type Decoder struct {
	data []byte
	pos  int

	width, height int
	progressive   bool
	components    []component
	hmax, vmax    int // of the sampling factors
	mcusX, mcusY  int // units of which the image consists
	restart       int // units between restart markers; 0: none
	rgb           bool

	quant   [4][64]int32 // in zigzag order
	hasQ    [4]bool
	dc, ac  [4]huffman
	bits    bits
	eobRun  int
	block   [64]int32
	planes  [3][]byte
	coeffs  [3][][64]int16
	ycbcr   image.YCbCr
	gray    image.Gray
	storage [3]component
}

// component is a plane of the image.
type component struct {
	id      byte
	h, v    int // sampling factors
	tq      byte
	td, ta  byte // Huffman tables of the scan
	blocksX int  // with those that fill up the last unit
	blocksY int
	ownX    int // blocks of a scan of this component alone
	ownY    int
	want    image.Rectangle // blocks that are transformed
	dcPred  int32
	seen    bool // in a scan
	plane   []byte
	stride  int
	coeffs  [][64]int16 // of a progressive file, by row
}

// Decode decodes a file to a *[image.Gray] or a *[image.YCbCr] of the file's width and height. Pixels outside of need
// may be left undefined, but those are good that its interpolated chroma is made of. The image is the decoder's, and
// good until the next call. A file of more than [MaxPasses] is [ErrUnsupported] before anything of it is decoded.
func (d *Decoder) Decode(file []byte, need image.Rectangle) (image.Image, error) {
	d.data, d.pos = file, 2
	d.components, d.restart, d.rgb, d.hasQ, d.eobRun, d.width = d.storage[:0], 0, false, [4]bool{}, 0, 0
	for i := range 4 {
		d.dc[i].ready, d.ac[i].ready = false, false
	}
	if len(file) < 4 || file[0] != 0xff || file[1] != 0xd8 {
		return nil, ErrUnsupported
	}
	adobe := -1 // the transform that an Adobe marker says
	jfif := false
	for {
		marker, seg, ok := d.segment()
		if !ok {
			return nil, ErrUnsupported
		}
		switch {
		case marker == 0xd9:
			return d.finish()
		case marker == 0xc0 || marker == 0xc1 || marker == 0xc2:
			d.progressive = marker == 0xc2
			ok = d.frame(seg, need) && !(len(d.components) == 3 && (adobe == 0 || !jfif && adobe < 0 && d.rgb))
		case marker == 0xc4:
			ok = d.huffmanTables(seg)
		case marker == 0xdb:
			ok = d.quantTables(seg)
		case marker == 0xdd:
			if ok = len(seg) == 2; ok {
				d.restart = int(binary.BigEndian.Uint16(seg))
			}
		case marker == 0xda:
			ok = d.scan(seg)
		case marker == 0xe0:
			jfif = jfif || len(seg) >= 5 && string(seg[:5]) == "JFIF\x00"
		case marker == 0xee:
			if len(seg) >= 12 && string(seg[:5]) == "Adobe" {
				adobe = int(seg[11])
				ok = adobe <= 1 && (adobe == 1 || len(d.components) != 3)
			}
		case marker > 0xe0 && marker < 0xf0 || marker == 0xfe: // notes
		default:
			ok = false
		}
		if !ok {
			return nil, ErrUnsupported
		}
	}
}

// MaxPasses bounds how many pixels all scans of a file go through together (see [Passes]). In a progressive file one of
// a hundred bytes may go through millions of blocks that do not change, so the size of a file says nothing of the time
// that it takes. An image of 12 million pixels may still have 178 scans, where encoders write about ten.
const MaxPasses = 1 << 31

// Passes tells how many pixels, at most, the scans of a file go through that is width by height. Scans of a preview in
// the file count, too.
func Passes(file []byte, width, height int) int64 {
	return int64(bytes.Count(file, startOfScan)) * int64(width) * int64(height)
}

var startOfScan = []byte{0xff, 0xda}

// Size reads the size of an image out of a file's header; ok is false when that is not as this package expects it.
func Size(file []byte) (width, height int, ok bool) {
	if len(file) < 4 || file[0] != 0xff || file[1] != 0xd8 {
		return 0, 0, false
	}
	d := Decoder{data: file, pos: 2}
	for {
		marker, seg, ok := d.segment()
		switch {
		case !ok || marker == 0xd9 || marker == 0xda:
			return 0, 0, false
		case marker >= 0xc0 && marker <= 0xc2:
			if len(seg) < 6 {
				return 0, 0, false
			}
			return int(binary.BigEndian.Uint16(seg[3:])), int(binary.BigEndian.Uint16(seg[1:])), true
		case marker < 0xd0 && marker != 0xc4:
			return 0, 0, false
		}
	}
}

// segment gives the next marker and what belongs to it.
func (d *Decoder) segment() (marker byte, seg []byte, ok bool) {
	if d.pos >= len(d.data) || d.data[d.pos] != 0xff {
		return 0, nil, false
	}
	for d.pos < len(d.data) && d.data[d.pos] == 0xff {
		d.pos++
	}
	if d.pos >= len(d.data) {
		return 0, nil, false
	}
	marker = d.data[d.pos]
	d.pos++
	if marker == 0xd9 {
		return marker, nil, true
	}
	if d.pos+2 > len(d.data) || marker < 0xc0 || marker >= 0xd0 && marker < 0xd9 {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(d.data[d.pos:]))
	if n < 2 || n > len(d.data)-d.pos {
		return 0, nil, false
	}
	seg = d.data[d.pos+2 : d.pos+n]
	d.pos += n
	return marker, seg, true
}

// frame reads the header of the frame and makes room for its planes.
func (d *Decoder) frame(seg []byte, need image.Rectangle) bool {
	if len(d.components) > 0 || len(seg) < 6 || seg[0] != 8 {
		return false
	}
	d.height, d.width = int(binary.BigEndian.Uint16(seg[1:])), int(binary.BigEndian.Uint16(seg[3:]))
	n := int(seg[5])
	if d.height == 0 || d.width == 0 || n != 1 && n != 3 || len(seg) != 6+3*n || d.progressive && Passes(d.data, d.width, d.height) > MaxPasses {
		return false
	}
	d.components = d.storage[:n]
	for i := range d.components {
		s := seg[6+3*i:]
		d.components[i] = component{id: s[0], h: int(s[1] >> 4), v: int(s[1] & 15), tq: s[2]}
		if s[2] > 3 {
			return false
		}
	}
	y := &d.components[0]
	if n == 1 {
		y.h, y.v = 1, 1 // alone it is never interleaved
	} else {
		cb, cr := d.components[1], d.components[2]
		if y.h < 1 || y.h > 2 || y.v < 1 || y.v > 2 || cb.h != 1 || cb.v != 1 || cr.h != 1 || cr.v != 1 || y.id == cb.id || y.id == cr.id || cb.id == cr.id {
			return false
		}
		d.rgb = y.id == 'R' && cb.id == 'G' && cr.id == 'B'
	}
	d.hmax, d.vmax = y.h, y.v
	d.mcusX, d.mcusY = ceil(d.width, 8*d.hmax), ceil(d.height, 8*d.vmax)
	for i := range d.components {
		d.room(i, need)
	}
	return true
}

// room makes room for a plane, and says which of its blocks are needed.
func (d *Decoder) room(i int, need image.Rectangle) {
	c := &d.components[i]
	c.blocksX, c.blocksY = d.mcusX*c.h, d.mcusY*c.v
	c.ownX, c.ownY = ceil(ceil(d.width*c.h, d.hmax), 8), ceil(ceil(d.height*c.v, d.vmax), 8)
	c.stride = 8 * c.blocksX
	c.plane = grown(d.planes[i], c.stride*8*c.blocksY)
	d.planes[i] = c.plane
	if d.progressive {
		c.coeffs = grown(d.coeffs[i], c.blocksX*c.blocksY)
		clear(c.coeffs)
		d.coeffs[i] = c.coeffs
	}
	need = need.Intersect(image.Rect(0, 0, d.width, d.height))
	sx, sy := d.hmax/c.h, d.vmax/c.v // pixels of the image in one of the plane
	if sx > 1 || sy > 1 {
		need = need.Inset(-2) // what is interpolated looks at its neighbours
	}
	c.want = image.Rect(max(need.Min.X, 0)/(8*sx), max(need.Min.Y, 0)/(8*sy), ceil(need.Max.X, 8*sx), ceil(need.Max.Y, 8*sy)).
		Intersect(image.Rect(0, 0, c.blocksX, c.blocksY))
}

// finish makes the image of the planes.
func (d *Decoder) finish() (image.Image, error) {
	if len(d.components) == 0 {
		return nil, ErrUnsupported
	}
	for i := range d.components {
		c := &d.components[i]
		if !c.seen || !d.hasQ[c.tq] {
			return nil, ErrUnsupported
		}
		if d.progressive {
			d.transform(c)
		}
	}
	all := image.Rect(0, 0, d.width, d.height)
	y := d.components[0]
	if len(d.components) == 1 {
		d.gray = image.Gray{Pix: y.plane, Stride: y.stride, Rect: all}
		return &d.gray, nil
	}
	ratio := image.YCbCrSubsampleRatio444
	switch {
	case y.h == 2 && y.v == 2:
		ratio = image.YCbCrSubsampleRatio420
	case y.h == 2:
		ratio = image.YCbCrSubsampleRatio422
	case y.v == 2:
		ratio = image.YCbCrSubsampleRatio440
	}
	d.ycbcr = image.YCbCr{Y: y.plane, YStride: y.stride, Cb: d.components[1].plane, Cr: d.components[2].plane, CStride: d.components[1].stride, SubsampleRatio: ratio, Rect: all}
	return &d.ycbcr, nil
}

// quantTables reads tables of quantization, of 8 or 16 bits.
func (d *Decoder) quantTables(seg []byte) bool {
	if d.scanned() {
		return false // tables that change between scans are rare, and image/jpeg's to read
	}
	for len(seg) > 0 {
		precision, id := seg[0]>>4, seg[0]&15
		size := 64 * (1 + int(precision))
		if precision > 1 || id > 3 || len(seg) < 1+size {
			return false
		}
		for i := range 64 {
			if precision == 0 {
				d.quant[id][i] = int32(seg[1+i])
			} else {
				d.quant[id][i] = int32(binary.BigEndian.Uint16(seg[1+2*i:]))
			}
		}
		d.hasQ[id] = true
		seg = seg[1+size:]
	}
	return true
}

func (d *Decoder) scanned() bool {
	for _, c := range d.components {
		if c.seen {
			return true
		}
	}
	return false
}

func ceil(a, b int) int { return (a + b - 1) / b }

// grown gives n elements, of old's memory where it is large enough.
func grown[T any](old []T, n int) []T {
	if cap(old) < n {
		return make([]T, n)
	}
	return old[:n]
}
