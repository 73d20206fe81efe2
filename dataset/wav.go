package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/tensor"
)

// sound is what a WAV file (RIFF, Microsoft 1994) says about itself, and its samples.
type sound struct {
	rate     int64
	channels int
	bits     int
	float    bool
	data     []byte
}

const (
	wavPCM        = 1
	wavFloat      = 3
	wavExtensible = 0xfffe
	// maxRate is far above what any device samples at.
	maxRate = 1 << 22
	// maxRatio bounds the terms of a change of rate: the filter has twenty times as many
	// taps. All rates up to 196 kHz can be changed into each other.
	maxRatio = 196_608
	// maxLength bounds the samples of one sound.
	maxLength = 1 << 28
)

// parseWAV reads the chunks of a file; the samples stay where they are.
func parseWAV(file []byte) (sound, error) {
	var s sound
	if len(file) < 12 || string(file[:4]) != "RIFF" || string(file[8:12]) != "WAVE" {
		return s, errors.New("it is no WAV file")
	}
	described := false
	for at := 12; at+8 <= len(file); {
		id, size := string(file[at:at+4]), int64(binary.LittleEndian.Uint32(file[at+4:]))
		at += 8
		// A program that writes into a pipe does not know the size of its data.
		end := int64(at) + size
		if end > int64(len(file)) {
			if id != "data" {
				return s, fmt.Errorf("its part %q ends too early; the file is truncated", id)
			}
			end = int64(len(file))
		}
		body := file[at:end]
		switch id {
		case "fmt ":
			if err := s.format(body); err != nil {
				return s, err
			}
			described = true
		case "data":
			if !described {
				return s, errors.New("its samples come before their description")
			}
			frame := s.channels * s.bits / 8
			s.data = body[:len(body)/frame*frame]
			if len(s.data) == 0 {
				return s, errors.New("it has no samples")
			}
			return s, nil
		}
		at = int(end + end&1) // parts begin at even places
	}
	return s, errors.New("it has no samples")
}

func (s *sound) format(b []byte) error {
	if len(b) < 16 {
		return errors.New("its description is too short")
	}
	code := binary.LittleEndian.Uint16(b)
	if code == wavExtensible && len(b) >= 26 {
		code = binary.LittleEndian.Uint16(b[24:])
	}
	s.channels = int(binary.LittleEndian.Uint16(b[2:]))
	s.rate = int64(binary.LittleEndian.Uint32(b[4:]))
	s.bits = int(binary.LittleEndian.Uint16(b[14:]))
	s.float = code == wavFloat
	known := code == wavPCM && (s.bits == 8 || s.bits == 16 || s.bits == 24 || s.bits == 32) || s.float && (s.bits == 32 || s.bits == 64)
	switch {
	case !known:
		return fmt.Errorf("its samples are of format %d with %d bits; PCM of 8, 16, 24 or 32 bits and floats of 32 or 64 are read", code, s.bits)
	case s.channels == 0 || s.channels > 256:
		return fmt.Errorf("it has %d channels", s.channels)
	case s.rate == 0 || s.rate > maxRate:
		return fmt.Errorf("it has %d samples a second", s.rate)
	}
	return nil
}

// frames is the number of samples of each channel.
func (s *sound) frames() int { return len(s.data) / (s.channels * s.bits / 8) }

// mono mixes the first n frames down: each is the mean of its channels, from -1 to 1.
func (s *sound) mono(n int) []float32 {
	n = min(n, s.frames())
	out := make([]float32, n)
	width := s.bits / 8
	b := s.data
	for i := range out {
		var sum float64
		for range s.channels {
			sum += s.sample(b)
			b = b[width:]
		}
		out[i] = float32(sum / float64(s.channels))
	}
	return out
}

func (s *sound) sample(b []byte) float64 {
	switch {
	case s.float && s.bits == 32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case s.float:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	case s.bits == 8: // the only width without a sign
		return (float64(b[0]) - 128) / 128
	case s.bits == 16:
		return float64(int16(binary.LittleEndian.Uint16(b))) / (1 << 15)
	case s.bits == 24:
		return float64(int32(uint32(b[0])<<8|uint32(b[1])<<16|uint32(b[2])<<24)) / (1 << 31)
	}
	return float64(int32(binary.LittleEndian.Uint32(b))) / (1 << 31)
}

func (p *tablePlan) sound(in Input, path []string, i int) (*column, error) {
	if err := checkLength(in); err != nil {
		return nil, err
	}
	first, err := p.t.first(p.ctx)
	if err != nil {
		return nil, err
	}
	file, err := (&worker{}).read(p.t.dir, first.cells[i])
	var s sound
	if err == nil {
		s, err = parseWAV(file)
	}
	if err != nil {
		return nil, &Error{Path: path, Summary: "The first sound cannot be used", Detail: fmt.Sprintf("%s: %s.", p.t.resolve(first.cells[i]), err), Err: err}
	}
	rate, length := s.rate, in.Length
	if in.Rate != 0 {
		if in.Rate < 0 || in.Rate > maxRate {
			return nil, &Error{Path: []string{"input", in.Name, "rate"}, Summary: "rate is not usable", Detail: fmt.Sprintf("It is %d; the samples a second are from 1 to %d.", in.Rate, maxRate)}
		}
		rate = in.Rate
	}
	if length == 0 {
		up, down := ratio(s.rate, rate)
		if length = resampledLength(int64(s.frames()), up, down); length > maxLength {
			return nil, &Error{Path: path, Summary: "The first sound is too long", Detail: fmt.Sprintf("%s becomes %d samples at %d a second; up to %d are read. Write length to cut it.", p.t.resolve(first.cells[i]), length, rate, maxLength)}
		}
	}
	return p.column(in, path, p.t.fields[i].name, tensor.F32, tensor.F32, []int64{length}, func(w *worker, r row, raw []byte) error {
		file, err := w.read(p.t.dir, r.cells[i])
		if err != nil {
			return err
		}
		s, err := parseWAV(file)
		if err != nil {
			return fmt.Errorf("%s: %w", p.t.resolve(r.cells[i]), err)
		}
		if s.rate != rate && in.Rate == 0 {
			return fmt.Errorf("%s has %d samples a second, but the first sound %d; write rate = %d to resample", p.t.resolve(r.cells[i]), s.rate, rate, rate)
		}
		out := elements[float32](raw)
		up, down := ratio(s.rate, rate)
		n := resampledLength(int64(s.frames()), up, down)
		if in.Length == 0 && n != length {
			return fmt.Errorf("%s has %d samples, but the first sound %d; write length = %d to cut and fill up", p.t.resolve(r.cells[i]), n, length, length)
		}
		if max(up, down) > maxRatio {
			return fmt.Errorf("%s has %d samples a second, which cannot be changed into %d: their ratio is %d to %d", p.t.resolve(r.cells[i]), s.rate, rate, up, down)
		}
		if up == down {
			copy(out, s.mono(len(out)))
			clear(out[min(n, length):])
			return nil
		}
		resampleSound(out, s.mono(s.frames()), up, down)
		clear(out[min(n, length):])
		return nil
	})
}

func checkLength(in Input) error {
	if in.Length < 0 || in.Length > maxLength {
		return &Error{Path: []string{"input", in.Name, "length"}, Summary: "length is not usable", Detail: fmt.Sprintf("It is %d; a sample's length is from 1 to %d.", in.Length, maxLength)}
	}
	return nil
}

// ratio is to/from in lowest terms.
func ratio(from, to int64) (up, down int64) {
	a, b := from, to
	for b != 0 {
		a, b = b, a%b
	}
	return to / a, from / a
}

func resampledLength(n, up, down int64) int64 { return (n*up + down - 1) / down }

// resampleSound changes the rate by up/down with a windowed-sinc low pass (Kaiser,
// beta 5, ten zero crossings to each side): SciPy's resample_poly with its defaults.
// Of each output only the taps are worked out that meet an input.
func resampleSound(out, in []float32, up, down int64) {
	most := max(up, down)
	half := 10 * most
	taps := lowPass(half, 1/float64(most), float64(up))
	for k := range out {
		// Output k lies at k·down on the axis of up·in; tap j meets input i where
		// i·up = k·down + half - j.
		center := int64(k)*down + half
		first := max(0, (center-2*half+up-1)/up)
		last := min(int64(len(in))-1, center/up)
		var sum float64
		for i := first; i <= last; i++ {
			sum += float64(in[i]) * taps[center-i*up]
		}
		out[k] = float32(sum)
	}
}

// lowPass is a sinc of 2·half+1 taps with the cutoff as a share of the Nyquist
// frequency, under a Kaiser window, scaled to the gain at frequency 0.
func lowPass(half int64, cutoff, gain float64) []float64 {
	const beta = 5
	h := make([]float64, 2*half+1)
	var sum float64
	for i := range h {
		x := float64(int64(i) - half)
		r := x / float64(half)
		h[i] = cutoff * sinc(cutoff*x) * bessel(beta*math.Sqrt(max(0, 1-r*r))) / bessel(beta)
		sum += h[i]
	}
	for i := range h {
		h[i] *= gain / sum
	}
	return h
}

// bessel is the modified Bessel function of the first kind of order 0, by its series.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-17; k++ {
		term *= x / (2 * k) * x / (2 * k)
		sum += term
	}
	return sum
}
