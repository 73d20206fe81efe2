package cluster

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// Options say which weights are clustered, and how.
type Options struct {
	// Clusters is the number of values in a table, 2 to 256; an index takes as many bits as that needs.
	Clusters int
	// GroupSize is how many output channels share a table; 0: all of a weight.
	GroupSize int
	// Keep tells which nodes keep their weights, and why. Nil keeps none.
	Keep func(*onnx.Node) (reason string, keep bool)
	// Importance of the input channels of a node, by node: the mean square of what it reads. Others count alike.
	Importance map[*onnx.Node][]float32
	Threads    int
	Progress   func(done, total int64) // may be nil
}

// Weight is a weight that was clustered.
type Weight struct {
	Name          string
	Before, After int64   // bytes
	SQNR          float64 // of the table's values against the original, in dB
	Inertia       float64 // the sum of squared distances
}

// Kept is a weight, or the node that reads it, that stays as it is.
type Kept struct {
	Name, Reason string
}

// Report is what Apply did.
type Report struct {
	Weights       []Weight
	Kept          []Kept
	Before, After int64 // bytes of all float constants
}

// nodeBytes is about what the nodes that look a weight up take in a file.
const nodeBytes = 900

// job is one weight.
type job struct {
	graph  *onnx.Graph
	t      *onnx.Tensor
	uses   []use
	others bool // something reads it that is none of them
	axis   int  // of the output channels
	groups int
	bits   int
	order  []float32 // the elements, channels first
	imp    []float32 // as order; nil
	index  [][]uint8
	table  []float32 // groups * 2^bits
	report Weight
}

// Apply rewrites a model whose constants are initializers that nobody overrides, of opset 13 or later. Weights that
// would not become smaller stay.
func Apply(ctx context.Context, m *onnx.Model, o Options) (*Report, error) {
	r := &Report{}
	var jobs []*job
	graphs := []*onnx.Graph{m.Graph}
	for n := range m.Graph.AllNodes() {
		graphs = append(graphs, n.Subgraphs()...)
	}
	for _, g := range graphs {
		for t := range g.Initializers() {
			if t.DataType != onnx.Float && t.DataType != onnx.Float16 && t.DataType != onnx.BFloat16 {
				continue
			}
			r.Before += t.Bytes()
			r.After += t.Bytes()
			j, reason := newJob(g, t, o)
			if reason != "" {
				r.Kept = append(r.Kept, Kept{t.Name(), reason})
			}
			if j != nil {
				jobs = append(jobs, j)
			}
		}
	}
	if err := run(ctx, jobs, o); err != nil {
		return nil, err
	}
	e := &emitter{m: m, shared: map[sharedKey]string{}}
	for _, j := range jobs {
		e.emit(j)
		r.Weights = append(r.Weights, j.report)
		r.After += j.report.After - j.report.Before
	}
	if err := e.describe(); err != nil {
		return nil, err
	}
	if err := onnx.Check(m); err != nil {
		return nil, fmt.Errorf("the clustered graph is not valid: %w", err)
	}
	return r, nil
}

// newJob looks at a constant: nil when it is no weight or is kept, with a reason where that is worth a word.
func newJob(g *onnx.Graph, t *onnx.Tensor, o Options) (*job, string) {
	if g.IsOutput(t.Name()) || g.IsInput(t.Name()) || len(t.Dims) < 2 {
		return nil, ""
	}
	n := int(t.Elements())
	bits := Bits(o.Clusters)
	j := &job{graph: g, t: t, bits: bits, axis: -1, groups: 1}
	j.uses, j.others = usesOf(g, t)
	for _, u := range j.uses {
		if o.Keep != nil {
			if why, keep := o.Keep(u.node); keep {
				return nil, why
			}
		}
		axis := u.axis
		if j.axis >= 0 && j.axis != axis {
			axis = 0
		}
		j.axis = axis
	}
	if j.axis < 0 {
		return nil, inSubgraph(g, t)
	}
	if o.GroupSize > 0 {
		channels := int(t.Dims[j.axis])
		if channels%o.GroupSize == 0 {
			j.groups = channels / o.GroupSize
		} else if channels > o.GroupSize {
			return nil, fmt.Sprintf("its %d output channels are no multiple of group_size", channels)
		}
	}
	if after := j.size(n); after+nodeBytes >= t.Bytes() {
		return nil, fmt.Sprintf("it has %d elements: tables and indexes would take as much room", n)
	}
	return j, ""
}

// inSubgraph says that a matrix is no weight of this graph because a node's subgraph reads it; empty for any other constant. Its
// elements would be looked up anew in each round of a Loop.
func inSubgraph(g *onnx.Graph, t *onnx.Tensor) string {
	for _, n := range g.Consumers(t.Name()) {
		if len(n.Subgraphs()) > 0 && !slices.Contains(n.Inputs(), t.Name()) {
			name := n.Name
			if name == "" {
				name = n.Output(0)
			}
			return fmt.Sprintf("a subgraph of %s %q reads it", n.OpType, name)
		}
	}
	return ""
}

// Bits is how many an index into a table of k values takes.
func Bits(k int) int {
	bits := 1
	for 1<<bits < k {
		bits++
	}
	return bits
}

// size is what indexes and tables take, in bytes.
func (j *job) size(n int) int64 {
	return int64(j.groups) * (int64(wordOf(j.bits).packed(n/j.groups)) + int64(j.t.DataType.Bits()/8)<<j.bits)
}

// run clusters all groups of all weights, each group on one core.
func run(ctx context.Context, jobs []*job, o Options) error {
	type task struct {
		j     *job
		group int
	}
	var tasks []task
	for _, j := range jobs {
		if err := j.prepare(o); err != nil {
			return err
		}
		for g := range j.groups {
			tasks = append(tasks, task{j, g})
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, done := 0, int64(0)
	for range max(o.Threads, 1) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(tasks) || ctx.Err() != nil {
					return
				}
				tasks[i].j.cluster(tasks[i].group, o.Clusters)
				mu.Lock()
				done++
				if o.Progress != nil {
					o.Progress(done, int64(len(tasks)))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, j := range jobs {
		j.measure()
	}
	return nil
}

// prepare brings the elements into groups and refuses what is no number.
func (j *job) prepare(o Options) error {
	v, err := j.t.Float32s()
	if err != nil {
		return fmt.Errorf("weight %q: %w", j.t.Name(), err)
	}
	for i, x := range v {
		if a := math.Abs(float64(x)); math.IsNaN(a) || math.IsInf(a, 0) {
			return fmt.Errorf("weight %q: element %d is %v", j.t.Name(), i, x)
		}
	}
	j.order = v
	j.index = make([][]uint8, j.groups)
	j.table = make([]float32, j.groups<<j.bits)
	if imp := j.importance(o); imp != nil {
		j.imp = imp
	}
	if j.groups > 1 && j.axis != 0 {
		j.order = channelsFirst(v, j.t.Dims, j.axis)
		if j.imp != nil {
			j.imp = channelsFirst(j.imp, j.t.Dims, j.axis)
		}
	}
	return nil
}

// channelsFirst moves an axis to the front.
func channelsFirst(v []float32, dims []int64, axis int) []float32 {
	outer, inner := 1, 1
	for _, d := range dims[:axis] {
		outer *= int(d)
	}
	for _, d := range dims[axis+1:] {
		inner *= int(d)
	}
	channels := int(dims[axis])
	out := make([]float32, len(v))
	for c := range channels {
		for o := range outer {
			copy(out[(c*outer+o)*inner:(c*outer+o+1)*inner], v[(o*channels+c)*inner:(o*channels+c+1)*inner])
		}
	}
	return out
}

// importance spreads that of input channels over a weight's elements; nil when it is not known for all who read it.
func (j *job) importance(o Options) []float32 {
	if j.others {
		return nil
	}
	var out []float32
	for _, u := range j.uses {
		n, s := u.node, o.Importance[u.node]
		if s == nil {
			return nil
		}
		d := j.t.Dims
		e := make([]float32, len(j.order))
		switch {
		case n.Is("Conv"):
			per := int(d[1])
			inner := len(e) / int(d[0]*d[1])
			groups := int(n.IntAttr("group", 1))
			if per*groups != len(s) || groups < 1 {
				return nil
			}
			for i := range e {
				out, in := i/(per*inner), i/inner%per
				e[i] = s[out/(int(d[0])/groups)*per+in]
			}
		case (n.Is("Gemm") || n.Is("MatMul")) && len(d) == 2 && u.axis == 0:
			if len(s) != int(d[1]) {
				return nil
			}
			for i := range e {
				e[i] = s[i%len(s)]
			}
		case n.Is("Gemm") || n.Is("MatMul"):
			k, cols := int(d[len(d)-2]), int(d[len(d)-1])
			if len(s) != k {
				return nil
			}
			for i := range e {
				e[i] = s[i/cols%k]
			}
		default:
			return nil
		}
		if out == nil {
			out = e
			continue
		}
		for i := range out {
			out[i] += e[i]
		}
	}
	return out
}

func (j *job) cluster(group, k int) {
	n := len(j.order) / j.groups
	v := j.order[group*n : (group+1)*n]
	var imp []float32
	if j.imp != nil {
		imp = j.imp[group*n : (group+1)*n]
	}
	centers := Centers(v, imp, k)
	switch j.t.DataType { // the table is of the weight's type
	case onnx.Float16:
		for i, c := range centers {
			centers[i] = tensor.F16ToFloat32(tensor.Float32ToF16(c))
		}
	case onnx.BFloat16:
		for i, c := range centers {
			centers[i] = tensor.BF16ToFloat32(tensor.Float32ToBF16(c))
		}
	}
	centers = slices.Compact(centers)
	j.index[group] = Assign(v, centers)
	row := j.table[group<<j.bits : (group+1)<<j.bits]
	for i := range row {
		row[i] = centers[min(i, len(centers)-1)]
	}
}

// measure tells what was lost.
func (j *job) measure() {
	n := len(j.order) / j.groups
	var signal, noise float64
	for g, index := range j.index {
		for i, x := range index {
			v := float64(j.order[g*n+i])
			d := v - float64(j.table[g<<j.bits+int(x)])
			signal += v * v
			noise += d * d
		}
	}
	j.report = Weight{Name: j.t.Name(), Before: j.t.Bytes(), After: j.size(len(j.order)), Inertia: noise, SQNR: math.Inf(1)}
	if noise > 0 {
		j.report.SQNR = 10 * math.Log10(signal/noise)
	}
}
