package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/tensor"
)

// This file is a second reading of Core ML's documents of the operations that decompress: it shares no code with what is
// tested.

// decoder works operations out over a file of weights.
type decoder struct {
	t      *testing.T
	file   []byte
	values map[string]decoded
}

type decoded struct {
	typ mil.Type
	raw []int64   // integers
	f   []float64 // floats
}

func (d *decoder) value(v mil.Value) decoded {
	data := v.Data
	if v.Blob {
		m := d.file[v.Offset:]
		if binary.LittleEndian.Uint32(m) != 0xdeadbeef {
			d.t.Fatalf("no blob at %d", v.Offset)
		}
		at := binary.LittleEndian.Uint64(m[16:])
		data = d.file[at : at+binary.LittleEndian.Uint64(m[8:])]
	}
	n, width := int(v.Elements()), v.DataType.Bits()
	out := decoded{typ: v.Type}
	for i := range n {
		var w uint64
		for b := range width {
			at := i*width + b
			w |= uint64(data[at/8]>>(at%8)&1) << b
		}
		switch v.DataType {
		case mil.Float16:
			out.f = append(out.f, float64(tensor.F16ToFloat32(uint16(w))))
		case mil.Float32:
			out.f = append(out.f, float64(math.Float32frombits(uint32(w))))
		case mil.Int8:
			out.raw = append(out.raw, int64(int8(w)))
		case mil.Int4:
			out.raw = append(out.raw, int64(w<<60)>>60)
		default:
			out.raw = append(out.raw, int64(w))
		}
	}
	return out
}

func round(t mil.DataType, v float64) float64 {
	if t == mil.Float16 {
		return float64(tensor.F16ToFloat32(tensor.Float32ToF16(float32(v))))
	}
	return float64(float32(v))
}

// block is the place of element i in a tensor whose axes are cut into blocks.
func block(i int, shape, blocks []int64) int {
	place, stride := 0, 1
	for a := len(shape) - 1; a >= 0; a-- {
		at := i % int(shape[a])
		i /= int(shape[a])
		place += at / int(shape[a]/blocks[a]) * stride
		stride *= int(blocks[a])
	}
	return place
}

func bit(mask []int64, i int, packed bool) bool {
	if packed {
		return mask[i/8]>>(i%8)&1 == 1
	}
	return mask[i] == 1
}

func (d *decoder) run(op *mil.Operation, opset int) {
	args := map[string]decoded{}
	for _, a := range op.Attrs {
		args[a.Key] = d.value(a.Value)
	}
	for _, a := range op.Inputs {
		if a.Value != nil {
			args[a.Key] = d.value(*a.Value)
		} else {
			args[a.Key] = d.values[a.Names[0]]
		}
	}
	out := op.Outputs[len(op.Outputs)-1]
	r := decoded{typ: out.Type}
	n := int(out.Type.Elements())
	switch op.Type {
	case "const":
		r = args["val"]
	case "constexpr_cast":
		r.f = args["source_val"].f
	case "constexpr_affine_dequantize":
		q, s, z := args["quantized_data"], args["scale"], args["zero_point"]
		axis := int(args["axis"].raw[0])
		inner := 1
		for _, k := range q.typ.Shape[axis+1:] {
			inner *= int(k)
		}
		for i, v := range q.raw {
			at := i / inner % int(q.typ.Shape[axis])
			r.f = append(r.f, round(out.Type.DataType, float64(v-z.raw[min(at, len(z.raw)-1)])*s.f[min(at, len(s.f)-1)]))
		}
	case "constexpr_blockwise_shift_scale":
		q, s := args["data"], args["scale"]
		for i, v := range q.raw {
			at := block(i, q.typ.Shape, s.typ.Shape)
			if z, ok := args["offset"]; ok {
				v -= z.raw[at]
			}
			r.f = append(r.f, round(out.Type.DataType, float64(v)*s.f[at]))
		}
	case "constexpr_lut_to_dense":
		indexes, lut := args["indices"], args["lut"]
		k, groups := len(lut.f)+len(lut.raw), slices.Repeat([]int64{1}, len(out.Type.Shape))
		raw := indexes.raw
		if opset >= 8 {
			groups = lut.typ.Shape[:len(out.Type.Shape)]
			k = int(lut.typ.Shape[len(groups)])
		} else {
			width := map[int]int{2: 1, 4: 2, 16: 4, 64: 6, 256: 8}[k]
			raw = nil
			for i := range n {
				var w int64
				for b := range width {
					if bit(indexes.raw, i*width+b, true) {
						w |= 1 << b
					}
				}
				raw = append(raw, w)
			}
		}
		for i, v := range raw {
			at := block(i, out.Type.Shape, groups)*k + int(v)
			if lut.f == nil {
				r.raw = append(r.raw, lut.raw[at])
			} else {
				r.f = append(r.f, lut.f[at])
			}
		}
	case "constexpr_sparse_to_dense":
		mask, data := args["mask"], args["nonzero_data"]
		k := 0
		for i := range n {
			v := 0.0
			if bit(mask.raw, i, opset < 8) {
				v = data.f[k]
				k++
			}
			r.f = append(r.f, v)
		}
		if k != len(data.f) {
			d.t.Fatalf("%d bits of the mask, %d values", k, len(data.f))
		}
	case "constexpr_lut_to_sparse", "constexpr_sparse_blockwise_shift_scale":
		mask, data, per := args["indices_mask"], args["indices_nonzero_data"], args["lut"]
		if op.Type != "constexpr_lut_to_sparse" {
			mask, data, per = args["data_mask"], args["nonzero_data"], args["scale"]
		}
		rank := len(mask.typ.Shape)
		k := 0
		for i := range mask.raw {
			if mask.raw[i] == 0 {
				continue
			}
			at := block(i, mask.typ.Shape, per.typ.Shape[:rank])
			v := data.raw[k]
			k++
			if op.Type == "constexpr_lut_to_sparse" {
				r.f = append(r.f, per.f[at*int(per.typ.Shape[rank])+int(v)])
				continue
			}
			if z, ok := args["offset"]; ok {
				v -= z.raw[at]
			}
			r.f = append(r.f, round(out.Type.DataType, float64(v)*per.f[at]))
		}
		d.values[op.Outputs[0].Name] = mask
	default:
		d.t.Fatalf("operation %s", op.Type)
	}
	d.values[out.Name] = r
}

// written is what a form writes, and what it counts.
func written(t *testing.T, f form, opset int) (out []float64, counted, real int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weight.bin")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := mil.NewWeights(file)
	if err != nil {
		t.Fatal(err)
	}
	before := w.Size()
	s := sink{file: w}
	ops := f.build(&s)
	if s.err != nil {
		t.Fatal(f.name, s.err)
	}
	size := int64(0)
	for _, op := range ops {
		size += int64(op.EncodedSize())
	}
	real = w.Size() - before + size
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &decoder{t, b, map[string]decoded{}}
	known := map[string]mil.Known{}
	for _, op := range ops {
		ts, err := mil.Infer(op, opset, func(n string) (mil.Known, bool) { k, ok := known[n]; return k, ok })
		if op.Type == "const" {
			ts, err = []mil.Type{op.Attrs[0].Value.Type}, nil
		}
		if err != nil {
			t.Fatal(f.name, err)
		}
		for i, o := range op.Outputs {
			if !o.Type.Equal(ts[i]) {
				t.Fatalf("%s: the output %d is declared %s and is %s", f.name, i, o.Type, ts[i])
			}
			known[o.Name] = mil.Known{Type: o.Type, Const: true}
		}
		d.run(op, opset)
	}
	last := ops[len(ops)-1]
	return d.values[last.Outputs[0].Name].f, f.bytes(before), real
}

func describe(opset int, t mil.DataType) string { return fmt.Sprintf("%s %s", mil.OpsetName(opset), t) }
