package weights

import (
	"fmt"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// Weight is a constant of floats on its way into a package.
type Weight struct {
	// Floats gives the elements, row-major.
	Floats func() ([]float32, error)
	// Steps, if set, gives the integers that they are stored in; it may find that there are none.
	Steps func() (*Steps, error)
	// Opset is Core ML's operator set, which tells the forms that there are.
	Opset int
	// Spare are names that nothing in the program has, for what stands between two operations that decompress.
	Spare [2]string
	// Tally counts what was written.
	Tally *Tally
}

// Tally counts the forms of constants in a package.
type Tally struct {
	// Forms counts constants, and Bytes their bytes in the file of weights with their headers, by form: the operation that
	// makes them and the type of what is stored.
	Forms map[string]int64
	Bytes map[string]int64
	// Half is what all would take in half precision, in bytes.
	Half int64
}

// NewTally starts a count.
func NewTally() *Tally { return &Tally{Forms: map[string]int64{}, Bytes: map[string]int64{}} }

// Settle writes the constant in the form that takes the fewest bytes, and makes the operation what gives it. What it returns
// are operations that must stand before it.
func (w *Weight) Settle(op *mil.Operation, file *mil.Weights) ([]*mil.Operation, error) {
	t := op.Outputs[0].Type
	f, err := w.Floats()
	if err != nil {
		return nil, err
	}
	if int64(len(f)) != t.Elements() {
		return nil, fmt.Errorf("it has %d elements, and its shape is %v", len(f), t.Shape)
	}
	var st *Steps
	if w.Steps != nil {
		if st, err = w.Steps(); err != nil {
			return nil, err
		}
	}
	x := &source{typ: t, f: f, opset: w.Opset, name: op.Outputs[0].Name, spare: w.Spare, of: op.Of}
	chosen := x.choose(st, file.Size())
	before := file.Size()
	s := sink{file: file}
	ops := chosen.build(&s)
	if s.err != nil {
		return nil, s.err
	}
	if w.Tally != nil {
		w.Tally.Forms[chosen.name]++
		w.Tally.Bytes[chosen.name] += file.Size() - before
		w.Tally.Half += mil.BlobSize(mil.Float16, t.Elements())
	}
	*op = *ops[len(ops)-1]
	return ops[:len(ops)-1], nil
}

// dense are the elements as bytes, in half or single precision.
func dense(t mil.DataType, f []float32) []byte {
	if t == mil.Float16 {
		return mil.Halves(f)
	}
	return rawOf(f)
}
