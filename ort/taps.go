package ort

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/optimize-hcl/optimize/tensor"
)

// TapOptions say how values inside a model are read.
type TapOptions struct {
	// Session is how the model runs; its Outputs are ignored. Optimize is safe: what is tapped is not fused away.
	Session Options
	// Memory bounds the bytes that tapped values take at a time, in the engine and as they are handed over; 0: 256 MiB.
	// What the model itself takes to run comes on top.
	Memory int64
	// Bytes tells the size of values in the largest batch where it is known; for the others the first batch runs once more.
	Bytes map[string]int64
	// Types tells the element types of values where the model does not state them and the caller knows; for the others
	// the engine is asked, at the price of loading the model once more.
	Types map[string]tensor.DType
}

const defaultTapMemory = 256 << 20

// TapLimitError tells that one value alone does not fit into the memory.
type TapLimitError struct {
	Value       string
	Bytes       int64 // of the value in one batch; twice that is needed
	MemoryLimit int64
}

func (e *TapLimitError) Error() string {
	return fmt.Sprintf("value %q takes %d bytes in one batch, in the engine and again to hand it over, and only %d may be held: use smaller batches or more memory", e.Value, e.Bytes, e.MemoryLimit)
}

// Taps hands out values inside a model batch by batch. When not all fit into the
// memory at a time, they come in groups: for each group the batches run again, through
// just the part of the graph that the group needs. It is for one goroutine.
type Taps struct {
	o      TapOptions
	parts  *parts
	values []string // in the caller's order
	types  map[string][]byte
	sizes  map[string]int64
	groups [][]string
	open   int // the group whose session is loaded, -1: none
	s      *Session
}

// NewTaps prepares to read the named values of a model: outputs of its nodes, its
// inputs and its outputs, not its weights and nothing inside a branch or a loop's
// body. The model's bytes must not change before Close. Weights in external files are
// looked for in o.Session.ExternalDataDir.
func NewTaps(model []byte, values []string, o TapOptions) (*Taps, error) {
	if _, ok := Loaded(); !ok {
		return nil, errNotLoaded
	}
	if o.Memory < 0 {
		return nil, fmt.Errorf("the memory for tapped values must be 0 or more bytes, but it is %d", o.Memory)
	}
	if o.Memory == 0 {
		o.Memory = defaultTapMemory
	}
	if o.Session.ProfilePath != "" || o.Session.OptimizedModelPath != "" {
		return nil, errors.New("a tapped model runs in parts, so neither its profile nor its optimized graph can be written")
	}
	o.Session.Outputs = nil
	p, err := cut(model)
	if err != nil {
		return nil, err
	}
	t := &Taps{o: o, parts: p, types: map[string][]byte{}, sizes: map[string]int64{}, open: -1}
	seen := map[string]bool{}
	for _, v := range values {
		_, made := p.producer[v]
		switch {
		case v == "":
			return nil, errors.New("a value without a name cannot be tapped")
		case seen[v]:
			return nil, fmt.Errorf("value %q is tapped twice", v)
		case !made && p.weight[v]:
			return nil, fmt.Errorf("value %q is a weight of the model, the same in each run: read it from the model", v)
		case !made && !p.input[v]:
			return nil, fmt.Errorf("no node of the model's graph makes a value %q", v)
		}
		seen[v] = true
		t.values = append(t.values, v)
		if d, ok := o.Types[v]; ok {
			number, ok := engineTypes[d]
			if !ok {
				return nil, fmt.Errorf("value %q cannot hold %s", v, d)
			}
			t.types[v] = tensorType(int64(number))
		} else {
			t.types[v] = p.types[v]
		}
		if n, ok := o.Bytes[v]; ok {
			t.sizes[v] = n
		}
	}
	return t, nil
}

// Groups tells which values are handed out together, in order; nil before the first
// Run, unless TapOptions.Bytes has them all.
func (t *Taps) Groups() ([][]string, error) {
	if t.groups == nil && len(t.sizes) == len(t.values) {
		if err := t.group(); err != nil {
			return nil, err
		}
	}
	return t.groups, nil
}

// Run feeds n batches and hands over each value of each batch. batch returns the
// inputs of batch i, 0 to n-1; it is called once for each group, and batches must not be larger
// than the first one unless TapOptions.Bytes is set. f gets the values group by
// group, in a group batch by batch, in a batch in the order asked for; the tensor is
// its own to keep, but what it keeps does not count as held.
func (t *Taps) Run(ctx context.Context, n int, batch func(i int) (map[string]tensor.Tensor, error), f func(i int, value string, x tensor.Tensor) error) error {
	if t.parts == nil {
		return errClosed
	}
	if n < 1 || len(t.values) == 0 {
		return nil
	}
	if t.groups == nil {
		if err := t.learn(ctx, batch); err != nil {
			return err
		}
	}
	for g, values := range t.groups {
		if err := t.load(g); err != nil {
			return err
		}
		for i := range n {
			if err := ctx.Err(); err != nil {
				return err
			}
			in, err := batch(i)
			if err != nil {
				return err
			}
			var out map[string]tensor.Tensor
			if t.s != nil {
				if out, err = t.s.Run(in, nil); err != nil {
					return err
				}
			}
			for _, v := range values {
				x, ok := out[v]
				if !ok {
					// An input of the model is what was fed.
					if x, ok = in[v]; !ok {
						return &InputError{v, "it is missing"}
					}
				}
				delete(out, v) // so that f alone decides how long it lives
				if err := f(i, v, x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Close frees the model. A second Close does nothing.
func (t *Taps) Close() error {
	t.parts, t.groups = nil, nil
	return t.unload()
}

func (t *Taps) unload() error {
	s := t.s
	t.s, t.open = nil, -1
	if s == nil {
		return nil
	}
	return s.Close()
}

// made are those of the values that the engine computes.
func (t *Taps) made(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { _, ok := t.parts.producer[v]; return !ok })
}

// load makes the session of a group; only one is there at a time.
func (t *Taps) load(g int) (err error) {
	if t.open == g {
		return nil
	}
	if err := t.unload(); err != nil {
		return err
	}
	if values := t.made(t.groups[g]); len(values) > 0 {
		outputs := make([][]byte, len(values))
		for i, v := range values {
			outputs[i] = valueProto(v, t.types[v])
		}
		if t.s, err = t.session(t.parts.with(values, nil, outputs)); err != nil {
			return err
		}
	}
	t.open = g
	return nil
}

func (t *Taps) session(model []byte) (*Session, error) {
	s, err := NewSession(model, t.o.Session)
	if err == nil {
		s.reload = nil // lets go of the bytes; nothing is bound here
	}
	return s, err
}

// learn finds out the types and sizes that are not known and forms the groups. The
// first batch runs through the model with a Shape node behind each value, so that no
// value is held to learn how large it is.
func (t *Taps) learn(ctx context.Context, batch func(i int) (map[string]tensor.Tensor, error)) error {
	if err := t.askTypes(); err != nil {
		return err
	}
	var unknown []string
	for _, v := range t.values {
		if _, ok := t.sizes[v]; !ok {
			unknown = append(unknown, v)
		}
	}
	if len(unknown) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		in, err := batch(0)
		if err != nil {
			return err
		}
		shapes, err := t.shapes(t.made(unknown), in)
		if err != nil {
			return err
		}
		for _, v := range unknown {
			d, shape := elementTypes[element(t.types[v])], shapes[v]
			if _, made := t.parts.producer[v]; !made {
				d, shape = in[v].DType, in[v].Shape
			}
			if t.sizes[v], err = tensor.Size(d, shape); err != nil {
				return fmt.Errorf("value %q: %w", v, err)
			}
		}
	}
	return t.group()
}

const shapePrefix = "optimize.shape/"

func (t *Taps) shapes(values []string, in map[string]tensor.Tensor) (_ map[string][]int64, err error) {
	if len(values) == 0 {
		return nil, nil
	}
	nodes, outputs := make([][]byte, len(values)), make([][]byte, len(values))
	for i, v := range values {
		nodes[i] = node("Shape", []string{v}, shapePrefix+v, nil)
		// One axis is stated, so that no conversion is added; how long it is, the run tells.
		outputs[i] = valueProto(shapePrefix+v, rankOne(7))
	}
	s, err := t.session(t.parts.with(values, nodes, outputs))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	out, err := s.Run(in, nil)
	if err != nil {
		return nil, err
	}
	shapes := make(map[string][]int64, len(values))
	for _, v := range values {
		if shapes[v], err = tensor.View[int64](out[shapePrefix+v]); err != nil {
			return nil, fmt.Errorf("the shape of value %q: %w", v, err)
		}
	}
	return shapes, nil
}

// askTypes lets the engine tell the element types that neither the model nor the caller states.
func (t *Taps) askTypes() error {
	var unknown []string
	var infos []valueInfo
	for _, v := range t.made(t.values) {
		if element(t.types[v]) == 0 {
			unknown = append(unknown, v)
			infos = append(infos, valueInfo{Info: Info{Name: v}})
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	outputs := make([][]byte, len(unknown))
	for i, v := range unknown {
		outputs[i] = valueProto(v, nil)
	}
	model := t.parts.with(unknown, nil, outputs)
	o := t.o.Session
	if err := ask(o, "", func() ([]byte, error) { return model, nil }, nil, infos); err != nil {
		return err
	}
	for _, v := range infos {
		if err := supported("value", v); err != nil {
			return err
		}
		t.types[v.Name] = tensorType(v.element)
	}
	return nil
}

// group puts each value into the first group with room for it. A value counts twice:
// the engine holds it, and it is copied to be handed over.
func (t *Taps) group() error {
	var room []int64
	var groups [][]string
	for _, v := range t.values {
		n := t.sizes[v]
		if n < 0 || n > t.o.Memory/2 {
			return &TapLimitError{v, n, t.o.Memory}
		}
		g := slices.IndexFunc(room, func(r int64) bool { return r >= 2*n })
		if g < 0 {
			g = len(room)
			room, groups = append(room, t.o.Memory), append(groups, nil)
		}
		room[g] -= 2 * n
		groups[g] = append(groups[g], v)
	}
	t.groups = groups
	return nil
}

// element reads the element type of a TypeProto; 0 when it is not stated or no tensor's.
func element(typ []byte) int64 {
	v := valueInfo{}
	w := &walker{r: bytes.NewReader(typ), end: int64(len(typ))}
	if err := w.fields(v.typeField); err != nil || v.kind != "" {
		return 0
	}
	return v.element
}

func tensorType(element int64) []byte {
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	return field(nil, 1, protowire.AppendVarint(b, uint64(element)))
}

// rankOne is the type of a tensor with one axis of any length.
func rankOne(element int64) []byte {
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(element))
	return field(nil, 1, field(b, 2, field(nil, 1, nil)))
}

func valueProto(name string, typ []byte) []byte {
	b := field(nil, 1, []byte(name))
	if typ != nil {
		b = field(b, 2, typ)
	}
	return b
}
