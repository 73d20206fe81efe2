// Package weightonly makes a model's weights smaller and leaves its activations in float: integers of 4 or 8 bits in
// blocks, the four-bit floats of bitsandbytes, or 8-bit floats. It takes the constant matrices that MatMul and Gemm
// multiply with and the tables that Gather looks up.
//
// A weight goes three ways that do not depend on one another: the format and its blocks (blocks.go, bnb4.go, fp8.go),
// the algorithm that chooses the codes (RTN in blocks.go, hqq.go, gptq.go, awq.go), and the operators that hold them
// (emit.go).
package weightonly

import (
	"context"
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
)

// What a weight becomes.
const (
	Int4 = "int4"
	Int8 = "int8"
	NF4  = "nf4"
	FP4  = "fp4"
	FP8  = "fp8"
)

// The operators that hold it.
const (
	FormRuntime  = "onnxruntime" // MatMulNBits, MatMulBnb4 and GatherBlockQuantized of com.microsoft
	FormStandard = "standard"    // DequantizeLinear
)

// How codes are chosen.
const (
	RTN  = "rtn"
	HQQ  = "hqq"
	GPTQ = "gptq"
	AWQ  = "awq"
)

// Options say what becomes of the weights.
type Options struct {
	Format     string
	Form       string
	Algorithm  string
	BlockSize  int // of int4, int8, nf4 and fp4: a power of two from 16 to 256
	Symmetric  bool
	Embeddings bool // tables of Gather too
	// Int8Compute lets MatMulNBits round activations to 8 bits for speed (accuracy_level 4).
	Int8Compute bool
	Damping     float64 // GPTQ: share of the mean of the Hessian's diagonal that is added to it
	ActOrder    bool    // GPTQ: columns in the order of their diagonal, largest first
	Threads     int
	// Keep says why the user wants a node in float, "" when not.
	Keep func(name string) string
	// Data and Gemm are needed for GPTQ and AWQ.
	Data *gram.Workspace
	Gemm solve.Gemm
	// Progress is called after each weight; nil is allowed.
	Progress func(done, total int64)
	// Used is told the bytes of a weight that has been read for the last time; nil is allowed.
	Used func(raw []byte)
}

// Calibrates tells whether an algorithm looks at activations.
func Calibrates(algorithm string) bool { return algorithm == GPTQ || algorithm == AWQ }

// MinOpset is the version of the standard operators that a form needs: blocks came with 21, 8-bit floats with 19.
func MinOpset(format, form string) int64 {
	switch {
	case form == FormRuntime:
		return 7
	case format == FP8:
		return 19
	}
	return 21
}

// Report is what Quantize did.
type Report struct {
	Quantized   []Layer
	Float       []Kept
	BytesBefore int64 // of the quantized weights, each counted once
	BytesAfter  int64 // with scales and zero points
	Elements    int64
	signal      float64
	noise       float64
	Scaled      []string // AWQ: where activations are scaled, and what took the scale in
}

// Layer is one quantized weight.
type Layer struct {
	Weight string
	Nodes  []*onnx.Node // what read it; they are in no graph any more where another operator took their place
	Names  []string
	SQNR   float64 // of the weight's elements, in dB
	// Output is the error of the product over the calibration data relative to its energy, -1 where none was run.
	Output float64
}

// Kept is a node that keeps its float weight.
type Kept struct {
	Name, Op, Reason string
}

func (k Kept) String() string { return fmt.Sprintf("%s (%s): %s", k.Name, k.Op, k.Reason) }

// SQNR is the ratio of the quantized weights' energy to that of their error, in dB; +Inf without an error.
func (r *Report) SQNR() float64 { return decibels(r.signal, r.noise) }

func decibels(signal, noise float64) float64 {
	if noise == 0 {
		return math.Inf(1)
	}
	return 10 * math.Log10(signal/noise)
}

// Quantize rewrites the model. Its inputs and outputs stay as they are; nodes are in order and constants are
// initializers before. An error leaves the model in an undefined state.
func Quantize(ctx context.Context, m *onnx.Model, shapes *onnx.Shapes, o Options) (*Report, error) {
	q := &quantizer{model: m, graph: m.Graph, shapes: shapes, opts: o, report: &Report{}, before: map[string]bool{}}
	units := q.units()
	if len(units) == 0 {
		return q.report, nil
	}
	var err error
	switch o.Algorithm {
	case GPTQ:
		err = q.gptq(ctx, units)
	case AWQ:
		err = q.awq(ctx, units)
	default:
		err = q.plain(ctx, units)
	}
	if err != nil {
		return nil, err
	}
	if err := m.Graph.TopoSort(); err != nil {
		return nil, fmt.Errorf("the quantized graph cannot be put in order: %w", err)
	}
	m.Graph.Prune()
	if err := onnx.Check(m); err != nil {
		return nil, fmt.Errorf("the quantized graph is not valid: %w", err)
	}
	return q.report, nil
}

type quantizer struct {
	model  *onnx.Model
	graph  *onnx.Graph
	shapes *onnx.Shapes
	opts   Options
	report *Report
	before map[string]bool // weights that are counted already
	done   int64
	total  int64
	locals map[localKey]string
}

// plain quantizes each weight by itself.
func (q *quantizer) plain(ctx context.Context, units []*unit) error {
	q.total = int64(len(units))
	for _, u := range units {
		if err := ctx.Err(); err != nil {
			return err
		}
		w, err := u.rows()
		if err != nil {
			return err
		}
		if err := q.store(u, w, nil, -1); err != nil {
			return err
		}
	}
	return nil
}

// grid is how blocks of a unit are chosen: with integer zeros where its operators take no others.
func (q *quantizer) grid(u *unit) grid {
	bits := 4
	if q.opts.Format == Int8 {
		bits = 8
	}
	return grid{size: q.opts.BlockSize, bits: bits, symmetric: q.opts.Symmetric, store: u.scaleType(), threads: q.opts.Threads}
}

// store puts what a unit's rows became into the graph. b are blocks that an algorithm chose; nil lets the options
// decide. output is the error of the product, for the report.
func (q *quantizer) store(u *unit, w []float32, b *Blocks, output float64) error {
	var back []float32
	var bytes int64
	switch q.opts.Format {
	case NF4, FP4:
		f := nf4
		if q.opts.Format == FP4 {
			f = fp4
		}
		packed, absmax := f.quantize(w, q.opts.BlockSize, q.opts.Threads)
		back = f.dequantize(packed, absmax, q.opts.BlockSize, len(w))
		bytes = q.emitBnb4(u, f, packed, absmax)
	case FP8:
		codes, scales := fp8Rows(w, u.n, u.k, q.opts.Threads, u.scaleType())
		back = make([]float32, len(w))
		for i, c := range codes {
			back[i] = fromE4M3(c) * scales[i/u.k]
		}
		bytes = q.emitFP8(u, codes, scales)
	default:
		if b == nil {
			g := q.grid(u)
			if q.opts.Algorithm == HQQ {
				// MatMulNBits takes zeros that are no codes with 4 bits only, the other operators never.
				b = g.hqq(w, u.n, u.k, u.role == roleMatrix && q.opts.Form == FormRuntime && g.bits == 4)
			} else {
				b = g.nearest(w, u.n, u.k)
			}
		}
		back = b.Dequantize(q.opts.Threads)
		bytes = q.emitBlocks(u, b)
	}
	q.note(u, w, back, bytes, output)
	return nil
}

// note adds a unit to the report.
func (q *quantizer) note(u *unit, w, back []float32, bytes int64, output float64) {
	var signal, noise float64
	for i, v := range w {
		d := float64(v - back[i])
		signal += float64(v) * float64(v)
		noise += d * d
	}
	r := q.report
	r.signal, r.noise = r.signal+signal, r.noise+noise
	if !q.before[u.weight.Name()] {
		q.before[u.weight.Name()] = true
		r.BytesBefore += u.weight.Bytes()
		r.Elements += u.weight.Elements()
	}
	r.BytesAfter += bytes
	l := Layer{Weight: u.weight.Name(), Nodes: u.nodes, SQNR: decibels(signal, noise), Output: output}
	for _, n := range u.nodes {
		l.Names = append(l.Names, nodeName(n))
	}
	r.Quantized = append(r.Quantized, l)
	if q.opts.Used != nil {
		q.opts.Used(u.weight.Raw)
	}
	q.done++
	if q.opts.Progress != nil {
		q.opts.Progress(q.done, q.total)
	}
}
