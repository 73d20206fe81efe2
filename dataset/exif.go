package dataset

import (
	"bytes"
	"encoding/binary"
)

// orientation reads how a JPEG is to be turned, 1 to 8 as EXIF 2.3 numbers it, or 1
// where nothing or nonsense is said. PNG and WebP are taken as they are.
func orientation(file []byte) int {
	if !isJPEG(file) {
		return 1
	}
	for at := 2; at+4 <= len(file) && file[at] == 0xff; {
		marker, size := file[at+1], int(binary.BigEndian.Uint16(file[at+2:]))
		if marker == 0xda || size < 2 || at+2+size > len(file) { // the image begins
			break
		}
		body := file[at+4 : at+2+size]
		if marker == 0xe1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")) {
			return tiffOrientation(body[6:])
		}
		at += 2 + size
	}
	return 1
}

// tiffOrientation looks for tag 274 in the first directory.
func tiffOrientation(b []byte) int {
	if len(b) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.LittleEndian
	if string(b[:2]) == "MM" {
		order = binary.BigEndian
	}
	dir := int64(order.Uint32(b[4:]))
	if dir+2 > int64(len(b)) {
		return 1
	}
	entries := b[dir+2:]
	for range order.Uint16(b[dir:]) {
		if len(entries) < 12 {
			break
		}
		if order.Uint16(entries) == 274 {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			break
		}
		entries = entries[12:]
	}
	return 1
}

// turn brings an image upright: bit by bit, the orientations 2 to 8 are combinations
// of a mirror left to right, one upside down, and one along the diagonal.
func (m *imageMemory) turn(img *pixels, orientation int) *pixels {
	if orientation == 1 {
		return img
	}
	mirrorX := orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8
	mirrorY := orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7
	swap := orientation > 4
	out := &m.turned
	if swap {
		mirrorX, mirrorY = mirrorY, mirrorX
		out.fit(img.h, img.w, img.ch)
	} else {
		out.fit(img.w, img.h, img.ch)
	}
	for y := range out.h {
		for x := range out.w {
			sx, sy := x, y
			if mirrorX {
				sx = out.w - 1 - x
			}
			if mirrorY {
				sy = out.h - 1 - y
			}
			if swap {
				sx, sy = sy, sx
			}
			copy(out.data[(y*out.w+x)*img.ch:][:img.ch], img.data[(sy*img.w+sx)*img.ch:])
		}
	}
	return out
}
