package weights

import (
	"fmt"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/tensor"
)

// Weight is a constant of floats on its way into a package.
type Weight struct {
	// Floats gives the elements, row-major.
	Floats func() ([]float32, error)
	// Steps, if set, gives the integers that they are stored in; it may find that there are none.
	Steps func() (*Steps, error)
	// Opset is Core ML's operator set, which tells the forms that there are.
	Opset int
	// Tally counts what was written.
	Tally *Tally
}

// Tally counts the forms of constants in a package.
type Tally struct {
	// Forms counts constants, and Bytes their bytes in the file of weights, by form: the operation that makes them.
	Forms map[string]int64
	Bytes map[string]int64
	// Half is what all would take in half precision, in bytes.
	Half int64
}

// NewTally starts a count.
func NewTally() *Tally { return &Tally{Forms: map[string]int64{}, Bytes: map[string]int64{}} }

// Settle writes the constant, and makes the operation what gives it.
func (w *Weight) Settle(op *mil.Operation, file *mil.Weights) error {
	t := op.Outputs[0].Type
	f, err := w.Floats()
	if err != nil {
		return err
	}
	if int64(len(f)) != t.Elements() {
		return fmt.Errorf("it has %d elements, and its shape is %v", len(f), t.Shape)
	}
	data := dense(t.DataType, f)
	v, err := file.Add(t, data)
	if err != nil {
		return err
	}
	op.Attrs = append(op.Attrs, mil.Attr{Key: "val", Value: v})
	return nil
}

// dense are the elements as bytes, in half or single precision.
func dense(t mil.DataType, f []float32) []byte {
	if t == mil.Float16 {
		return mil.Halves(f)
	}
	return tensor.Of([]int64{int64(len(f))}, f).Data
}
