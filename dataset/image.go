package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	stdjpeg "image/jpeg"
	"image/png"
	"math"

	"golang.org/x/image/webp"

	"github.com/optimize-hcl/optimize/dataset/jpeg"
	"github.com/optimize-hcl/optimize/tensor"
)

// maxPixels bounds an image, as a compressed one may claim any size.
const maxPixels = 1 << 27

// pixels is an image as bytes, row by row, its 1 or 3 channels side by side.
type pixels struct {
	w, h, ch int
	data     []byte
}

// fit makes room for an image; the memory is used again.
func (p *pixels) fit(w, h, ch int) {
	p.w, p.h, p.ch = w, h, ch
	if n := w * h * ch; cap(p.data) < n {
		p.data = make([]byte, n)
	} else {
		p.data = p.data[:n]
	}
}

func (p *pixels) row(y int) []byte { return p.data[y*p.w*p.ch : (y+1)*p.w*p.ch] }

// imageMemory is what a worker keeps from one image to the next.
type imageMemory struct {
	jpeg                         jpeg.Decoder
	decoded, turned, wide, sized pixels
	chroma                       [6][]byte
	sums                         []int32
	across, down                 *weights // of the sizes used last
	acrossOf, downOf             weightsKey
}

// imagePlan is what is done with each image of a field.
type imagePlan struct {
	gray, bgr, nhwc, orient bool
	resize, crop            []int64
	filter                  *filter
	w, h                    int // of the result
}

func (p *tablePlan) image(in Input, path []string, i int) (*column, error) {
	plan, err := newImagePlan(in)
	if err != nil {
		return nil, err
	}
	first, err := p.t.first(p.ctx)
	if err != nil {
		return nil, err
	}
	w := &worker{}
	file, err := w.read(p.t.dir, first.cells[i])
	if err == nil {
		var width, height int
		if width, height, err = imageSize(file, plan.orient); err == nil {
			_, _, err = plan.sizes(width, height, &plan.w, &plan.h)
		}
	}
	if err != nil {
		return nil, &Error{Path: path, Summary: "The first image cannot be used", Detail: fmt.Sprintf("%s: %s.", p.t.resolve(first.cells[i]), err), Err: err}
	}
	ch := int64(3)
	if plan.gray {
		ch = 1
	}
	shape := []int64{ch, int64(plan.h), int64(plan.w)}
	if plan.nhwc {
		shape = []int64{int64(plan.h), int64(plan.w), ch}
	}
	return p.column(in, path, p.t.fields[i].name, tensor.U8, tensor.U8, shape, func(w *worker, r row, raw []byte) error {
		file, err := w.read(p.t.dir, r.cells[i])
		if err != nil {
			return err
		}
		if err := plan.into(&w.image, file, raw); err != nil {
			return fmt.Errorf("%s: %w", p.t.resolve(r.cells[i]), err)
		}
		return nil
	})
}

func newImagePlan(in Input) (*imagePlan, error) {
	bad := func(name, why string) error {
		return &Error{Path: []string{"input", in.Name, name}, Summary: name + " is not usable", Detail: why}
	}
	p := &imagePlan{orient: in.Orient, resize: in.Resize, crop: in.Crop, nhwc: in.Layout == "nhwc"}
	switch in.Color {
	case "", "rgb":
	case "bgr":
		p.bgr = true
	case "gray":
		p.gray = true
	default:
		return nil, bad("color", fmt.Sprintf("%q is none of \"rgb\", \"bgr\" and \"gray\".", clip(in.Color)))
	}
	name := in.Resample
	if name == "" {
		name = "bilinear"
	}
	if p.filter = filters[name]; p.filter == nil {
		return nil, bad("resample", fmt.Sprintf("%q is none of \"nearest\", \"bilinear\", \"bicubic\" and \"lanczos\".", clip(in.Resample)))
	}
	for _, v := range []struct {
		name  string
		sizes []int64
	}{{"resize", in.Resize}, {"crop", in.Crop}} {
		if v.sizes == nil {
			continue
		}
		for _, n := range v.sizes {
			if n < 1 || n > 1<<15 || len(v.sizes) > 2 {
				return nil, bad(v.name, fmt.Sprintf("It is %v; a size is one number or [height, width], each from 1 to %d.", v.sizes, 1<<15))
			}
		}
		if len(v.sizes) == 0 {
			return nil, bad(v.name, "It is empty; a size is one number or [height, width].")
		}
	}
	return p, nil
}

// sizes works out what an image of w by h is resized to, and puts the final size into
// fw and fh, or compares with what is there.
func (p *imagePlan) sizes(w, h int, fw, fh *int) (rw, rh int, err error) {
	rw, rh = w, h
	switch len(p.resize) {
	case 2:
		rh, rw = int(p.resize[0]), int(p.resize[1])
	case 1: // the longer side is cut off after the point, as in torchvision
		short := int(p.resize[0])
		if w <= h {
			rw, rh = short, int(float64(short)*float64(h)/float64(w))
		} else {
			rw, rh = int(float64(short)*float64(w)/float64(h)), short
		}
		if rw*rh > maxPixels {
			return 0, 0, fmt.Errorf("it is %d wide and %d high, and resized it would be %d by %d", w, h, rw, rh)
		}
	}
	cw, ch := rw, rh
	if n := len(p.crop); n > 0 {
		ch, cw = int(p.crop[0]), int(p.crop[n-1])
		if cw > rw || ch > rh {
			return 0, 0, fmt.Errorf("it is %d wide and %d high, too small to crop %d by %d out of it; resize it first", rw, rh, cw, ch)
		}
	}
	if *fw == 0 {
		*fw, *fh = cw, ch
	}
	if cw != *fw || ch != *fh {
		return 0, 0, fmt.Errorf("it is %d wide and %d high, but the first image %d and %d; write resize = [height, width], or resize and crop", cw, ch, *fw, *fh)
	}
	return rw, rh, nil
}

// into decodes one file and writes its bytes in the order that the model takes.
func (p *imagePlan) into(m *imageMemory, file, raw []byte) error {
	turned := 1
	if p.orient {
		turned = orientation(file)
	}
	iw, ih, err := imageSize(file, p.orient)
	if err != nil {
		return err
	}
	rw, rh, err := p.sizes(iw, ih, &p.w, &p.h)
	if err != nil {
		return err
	}
	// As torchvision crops: half of what is left over, ties to even.
	x := int(math.RoundToEven(float64(rw-p.w) / 2))
	y := int(math.RoundToEven(float64(rh-p.h) / 2))
	need := image.Rect(0, 0, maxPixels, maxPixels)
	if turned <= 1 {
		need = m.reach(p.filter, iw, ih, rw, rh, x, y, p.w, p.h)
	}
	img, err := m.decode(file, p.gray, need)
	if err != nil {
		return err
	}
	if p.orient {
		img = m.turn(img, turned)
	}
	if img.w != iw || img.h != ih {
		return fmt.Errorf("its header says %d by %d pixels, but it has %d by %d", iw, ih, img.w, img.h)
	}
	img = m.resize(img, p.filter, rw, rh, x, y, p.w, p.h)
	n := p.w * p.h
	switch {
	case img.ch == 1:
		copy(raw, img.data)
	case p.nhwc && p.bgr:
		for i := 0; i+2 < len(img.data) && i+2 < len(raw); i += 3 {
			raw[i], raw[i+1], raw[i+2] = img.data[i+2], img.data[i+1], img.data[i]
		}
	case p.nhwc:
		copy(raw, img.data)
	default:
		r, g, b := raw[:n], raw[n:2*n], raw[2*n:3*n]
		if p.bgr {
			r, b = b, r
		}
		for i, src := 0, img.data; i < n && len(src) >= 3; i, src = i+1, src[3:] {
			r[i], g[i], b[i] = src[0], src[1], src[2]
		}
	}
	return nil
}

// imageSize reads only the header. With orient it is the size after turning.
func imageSize(file []byte, orient bool) (w, h int, err error) {
	var c image.Config
	switch {
	case isJPEG(file):
		var ok bool
		if c.Width, c.Height, ok = jpeg.Size(file); !ok {
			c, err = stdjpeg.DecodeConfig(bytes.NewReader(file))
		}
		// Every block of 8 by 8 takes more than one bit.
		if err == nil && c.Width*c.Height/1024 > len(file) {
			return 0, 0, fmt.Errorf("its header claims %d by %d pixels, which its %d bytes cannot hold", c.Width, c.Height, len(file))
		}
		if err == nil && jpeg.Passes(file, c.Width, c.Height) > jpeg.MaxPasses {
			return 0, 0, fmt.Errorf("it is %d wide and %d high and has more scans than any program writes for that size; save it again, not progressive", c.Width, c.Height)
		}
	case isPNG(file):
		c, err = png.DecodeConfig(bytes.NewReader(file))
		if err == nil && c.Width*c.Height/8/maxDeflate > len(file) {
			return 0, 0, fmt.Errorf("its header claims %d by %d pixels, which its %d bytes cannot hold", c.Width, c.Height, len(file))
		}
	case isWebP(file):
		if len(file) > 20 && string(file[12:16]) == "VP8X" && file[20]&2 != 0 {
			return 0, 0, errors.New("it is an animation; save one of its frames as an image")
		}
		c, err = webp.DecodeConfig(bytes.NewReader(file))
	default:
		return 0, 0, errors.New("it is no JPEG, PNG or WebP image")
	}
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("its header cannot be read: %w", err)
	case c.Width < 1 || c.Height < 1:
		return 0, 0, errors.New("it has no pixels")
	case c.Width > maxPixels/c.Height:
		return 0, 0, fmt.Errorf("it is %d wide and %d high; up to %d pixels are read", c.Width, c.Height, maxPixels)
	}
	if orient && orientation(file) > 4 {
		return c.Height, c.Width, nil
	}
	return c.Width, c.Height, nil
}

func isJPEG(b []byte) bool { return bytes.HasPrefix(b, []byte("\xff\xd8\xff")) }
func isPNG(b []byte) bool  { return bytes.HasPrefix(b, []byte("\x89PNG")) }
func isWebP(b []byte) bool {
	return len(b) >= 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP"
}

// decode reads an image, whose header was looked at, as RGB or as gray (ITU-R 601, as Pillow's "L"). Pixels outside of
// need may be left undefined.
func (m *imageMemory) decode(file []byte, gray bool, need image.Rectangle) (*pixels, error) {
	var img image.Image
	var err error
	switch {
	case isJPEG(file):
		if img, err = m.jpeg.Decode(file, need); err != nil {
			img, err = stdjpeg.Decode(bytes.NewReader(file))
		}
	case isPNG(file):
		img, err = png.Decode(bytes.NewReader(file))
	default:
		img, err = webp.Decode(bytes.NewReader(file))
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be decoded: %w", err)
	}
	out := &m.decoded
	m.colors(out, img, isWebP(file), need)
	if gray && out.ch == 3 {
		n := out.w * out.h
		for i := range n { // in place: what is written was read before
			p := out.data[3*i : 3*i+3]
			out.data[i] = luma(p[0], p[1], p[2])
		}
		out.ch, out.data = 1, out.data[:n]
	}
	if !gray && out.ch == 1 {
		src := append([]byte(nil), out.data...)
		out.fit(out.w, out.h, 3)
		for i, v := range src {
			out.data[3*i], out.data[3*i+1], out.data[3*i+2] = v, v, v
		}
	}
	return out, nil
}

// luma is ITU-R 601 in 16-bit fixed point.
func luma(r, g, b byte) byte {
	return byte((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
}
