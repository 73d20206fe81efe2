package jpeg

import (
	"bytes"
	"image"
	"image/color"
	stdjpeg "image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

var everything = image.Rect(0, 0, 1<<16, 1<<16)

// files are those that the data sets' tests have of Pillow.
func files(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("../testdata/*.jpg")
	if err != nil || len(paths) < 15 {
		t.Fatal(paths, err)
	}
	out := map[string][]byte{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(p)] = b
	}
	return out
}

// photo is an image of noise of all scales, encoded by the standard library, which is 4:2:0.
func photo(t testing.TB, w, h, quality int) []byte {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			n := r.IntN(40)
			m.Set(x, y, color.NRGBA{byte(100 + 80*math.Sin(float64(x)/9) + float64(n)), byte(y*255/h ^ n), byte(x*y>>4&255 ^ n), 255})
		}
	}
	var b bytes.Buffer
	if err := stdjpeg.Encode(&b, m, &stdjpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// planes are the samples of an image that count, of each plane.
func planes(t testing.TB, m image.Image, part image.Rectangle) [][]byte {
	t.Helper()
	cut := func(p []byte, stride int, r image.Rectangle) []byte {
		var out []byte
		for y := r.Min.Y; y < r.Max.Y; y++ {
			out = append(out, p[y*stride+r.Min.X:y*stride+r.Max.X]...)
		}
		return out
	}
	part = part.Intersect(m.Bounds())
	switch m := m.(type) {
	case *image.Gray:
		return [][]byte{cut(m.Pix, m.Stride, part)}
	case *image.YCbCr:
		sx, sy := 1, 1
		switch m.SubsampleRatio {
		case image.YCbCrSubsampleRatio420:
			sx, sy = 2, 2
		case image.YCbCrSubsampleRatio422:
			sx = 2
		case image.YCbCrSubsampleRatio440:
			sy = 2
		}
		c := image.Rect(part.Min.X/sx, part.Min.Y/sy, (part.Max.X+sx-1)/sx, (part.Max.Y+sy-1)/sy)
		return [][]byte{cut(m.Y, m.YStride, part), cut(m.Cb, m.CStride, c), cut(m.Cr, m.CStride, c)}
	}
	t.Fatalf("%T", m)
	return nil
}

// TestAsTheStandardLibrary: the planes are those of image/jpeg, but for the rounding of the inverse transform. That they
// are libjpeg's to the bit is what the data sets' golden files check.
func TestAsTheStandardLibrary(t *testing.T) {
	var d Decoder
	all := files(t)
	all["photo"] = photo(t, 203, 155, 90)
	all["fine"] = photo(t, 64, 64, 100)
	for name, file := range all {
		want, err := stdjpeg.Decode(bytes.NewReader(file))
		if err != nil {
			continue // it does not read all of Pillow's restart markers
		}
		got, err := d.Decode(file, everything)
		if name == "cmyk.jpg" || name == "rgb.jpg" {
			if err == nil {
				t.Errorf("%s is decoded, but to other colours", name)
			}
			continue
		}
		if err != nil || got.Bounds() != want.Bounds() {
			t.Errorf("%s: %v, %v", name, err, want.Bounds())
			continue
		}
		if w, h, ok := Size(file); !ok || w != want.Bounds().Dx() || h != want.Bounds().Dy() {
			t.Errorf("%s: %d by %d, %v", name, w, h, ok)
		}
		a, b := planes(t, got, everything), planes(t, want, everything)
		for i := range b {
			if len(a) != len(b) || len(a[i]) != len(b[i]) {
				t.Fatalf("%s: %d planes of %d, want %d", name, len(a), len(a[i]), len(b[i]))
			}
			off := 0
			for k := range b[i] {
				off = max(off, int(a[i][k])-int(b[i][k]), int(b[i][k])-int(a[i][k]))
			}
			if off > 2 {
				t.Errorf("%s: plane %d is %d levels off", name, i, off)
			}
		}
	}
}

// TestPart: what is needed is the same, whatever else is left out, and whatever was decoded before.
func TestPart(t *testing.T) {
	var d Decoder
	all := files(t)
	all["photo"] = photo(t, 203, 155, 90)
	for name, file := range all {
		whole, err := new(Decoder).Decode(file, everything)
		if err != nil {
			continue
		}
		w, h := whole.Bounds().Dx(), whole.Bounds().Dy()
		for _, part := range []image.Rectangle{image.Rect(0, 0, 1, 1), image.Rect(w/3, h/4, w/2+1, h/2+1), image.Rect(w-1, h-1, w, h), image.Rect(0, h/2, w, h/2+1)} {
			got, err := d.Decode(file, part)
			if err != nil {
				t.Fatal(name, err)
			}
			a, b := planes(t, got, part), planes(t, whole, part)
			for i := range b {
				if !bytes.Equal(a[i], b[i]) {
					t.Errorf("%s: plane %d of %v differs", name, i, part)
				}
			}
		}
	}
}

// TestDamaged: a file that ends early or is wrong is refused, without a panic.
func TestDamaged(t *testing.T) {
	var d Decoder
	for name, file := range files(t) {
		if _, err := d.Decode(file, everything); err != nil {
			continue
		}
		for n := 0; n < len(file)-2; n += max(1, len(file)/97) {
			if _, err := d.Decode(file[:n], everything); err == nil {
				t.Errorf("%s: %d of %d bytes are enough", name, n, len(file))
			}
		}
		r := rand.New(rand.NewPCG(3, 4))
		for range 200 {
			bad := bytes.Clone(file)
			for range 1 + r.IntN(4) {
				bad[r.IntN(len(bad))] = byte(r.Uint32())
			}
			if w, h, ok := Size(bad); ok && w*h > 1<<20 {
				continue
			}
			m, err := d.Decode(bad, everything)
			if err == nil {
				planes(t, m, everything)
			}
		}
	}
}

// scans is a progressive gray file of side by side pixels with n scans, each of which says of all blocks that nothing
// changes.
func scans(side, n int) []byte {
	segment := func(b []byte, marker byte, body ...byte) []byte {
		return append(append(b, 0xff, marker, 0, byte(len(body)+2)), body...)
	}
	one := append([]byte{1}, make([]byte, 15)...) // a single code, of one bit
	b := segment([]byte{0xff, 0xd8}, 0xdb, make([]byte, 65)...)
	b = segment(b, 0xc2, 8, byte(side>>8), byte(side), byte(side>>8), byte(side), 1, 1, 0x11, 0)
	b = segment(b, 0xc4, append(append([]byte{0x00}, one...), 0)...)
	b = segment(b, 0xc4, append(append([]byte{0x10}, one...), 0xe0)...) // a run of 1<<14 blocks and more
	blocks := (side + 7) / 8 * ((side + 7) / 8)
	b = append(segment(b, 0xda, 1, 1, 0, 0, 0, 0), make([]byte, (blocks+7)/8)...)
	for range n - 1 {
		b = append(segment(b, 0xda, 1, 1, 0, 1, 63, 0x10), make([]byte, (15*(blocks>>14+1)+7)/8)...)
	}
	return append(b, 0xff, 0xd9)
}

// TestManyScans: a small file does not take minutes, however often it goes through the image.
func TestManyScans(t *testing.T) {
	var d Decoder
	if _, err := d.Decode(scans(64, 300), everything); err != nil {
		t.Errorf("a small image of 300 scans: %v", err)
	}
	bad := scans(11000, 700) // a minute's work
	if got := Passes(bad, 11000, 11000); got != 700*11000*11000 {
		t.Errorf("%d passes", got)
	}
	if _, err := d.Decode(bad, everything); err == nil || len(d.planes[0]) > 1<<16 {
		t.Errorf("700 scans of 121 million pixels: %v, %d bytes", err, len(d.planes[0]))
	}
}

// TestTransform compares the inverse transform with its definition.
func TestTransform(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var block [64]int32
		last := r.IntN(64)
		for k := range last + 1 {
			block[unzig[k]] = r.Int32N(161) - 80
		}
		var want [64]float64
		for y := range 8 {
			for x := range 8 {
				sum := 0.0
				for v := range 8 {
					for u := range 8 {
						c := float64(block[8*v+u])
						if u == 0 {
							c *= math.Sqrt2 / 2
						}
						if v == 0 {
							c *= math.Sqrt2 / 2
						}
						sum += c * math.Cos(float64(2*x+1)*float64(u)*math.Pi/16) * math.Cos(float64(2*y+1)*float64(v)*math.Pi/16)
					}
				}
				want[8*y+x] = min(255, max(0, 128+sum/4))
			}
		}
		got := make([]byte, 64)
		inverse(&block, got, 8, last)
		for i := range want {
			if math.Abs(float64(got[i])-want[i]) > 1 {
				t.Fatalf("sample %d is %d, want %.3f (last %d)", i, got[i], want[i], last)
			}
		}
	}
}

// TestFill: bytes 0xff, stuffed or of markers, are found wherever they lie.
func TestFill(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		var plain, stuffed []byte
		for range r.IntN(60) {
			c := byte(r.Uint32())
			if r.IntN(3) == 0 {
				c = 0xff
			}
			plain, stuffed = append(plain, c), append(stuffed, c)
			if c == 0xff {
				stuffed = append(stuffed, 0)
			}
		}
		stuffed = append(stuffed, 0xff, 0xd9, 1, 2, 3, 4, 5, 6, 7, 8)
		b := bits{data: stuffed}
		var got []byte
		part, filled := 0, 0
		for len(got) < len(plain) {
			n := min(1+r.IntN(16), 8-filled+8*(len(plain)-len(got)-1))
			if b.n < n {
				b.fill()
			}
			v := int(b.take(n))
			for i := n - 1; i >= 0; i-- {
				part = part<<1 | v>>i&1
				if filled++; filled == 8 {
					got, part, filled = append(got, byte(part)), 0, 0
				}
			}
		}
		if !bytes.Equal(got, plain) || b.ended() {
			t.Fatalf("%x became %x, ended %v", plain, got, b.ended())
		}
		if b.n < 1 {
			b.fill()
		}
		b.drop(1)
		if !b.ended() {
			t.Fatal("the end is not seen")
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, file := range files(f) {
		f.Add(file)
	}
	var d Decoder
	f.Fuzz(func(t *testing.T, file []byte) {
		if w, h, ok := Size(file); !ok || w*h > 1<<20 {
			return
		}
		m, err := d.Decode(file, image.Rect(3, 5, 40, 30))
		if err != nil {
			return
		}
		planes(t, m, everything)
		if _, err := new(Decoder).Decode(file, everything); err != nil {
			t.Errorf("decoded in part, but not whole: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	file := photo(b, 500, 375, 90)
	b.SetBytes(int64(len(file)))
	for name, need := range map[string]image.Rectangle{"whole": everything, "part": image.Rect(90, 30, 410, 345)} {
		b.Run(name, func(b *testing.B) {
			var d Decoder
			for b.Loop() {
				if _, err := d.Decode(file, need); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("standard", func(b *testing.B) {
		for b.Loop() {
			if _, err := stdjpeg.Decode(bytes.NewReader(file)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
