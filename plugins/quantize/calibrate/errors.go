package calibrate

import (
	"errors"
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
)

// runError tells a dataset that does not fit from a model that fails.
func (j *Job) runError(err error) error {
	var in *ort.InputError
	if errors.As(err, &in) {
		return sdk.AttrError(j.argument(), "the dataset does not fit the model", err.Error())
	}
	return sdk.AttrError("model", "the model failed during calibration", err.Error())
}

// nonFinite says where a value that is no finite number came from, in the samples of one run.
func (j *Job) nonFinite(value string, bad float32, start, n int64) error {
	if err := nonFiniteConstant(j.Model.Graph); err != nil {
		return err
	}
	what := "NaN"
	if !math.IsNaN(float64(bad)) {
		what = "an infinity"
	}
	where := fmt.Sprintf("samples %d to %d", start, start+n-1)
	if n == 1 {
		where = fmt.Sprintf("sample %d", start)
	}
	if p := j.Model.Graph.Producer(value); p != nil {
		return sdk.AttrError(j.argument(), fmt.Sprintf("calibration met %s", what),
			fmt.Sprintf("Tensor %q, made by node %q (%s), holds %s for %s. A range with it in gives no scale: look at those samples, or keep the nodes around it in float with keep_float.",
				value, nodeName(p), p.OpType, what, where))
	}
	return sdk.AttrError(j.argument(), fmt.Sprintf("the dataset holds %s", what),
		fmt.Sprintf("Model input %q holds %s in %s: remove those samples or correct the scale, mean and std of the dataset.", value, what, where))
}

// nonFiniteConstant finds a weight that holds no numbers: then the data are not to blame.
func nonFiniteConstant(g *onnx.Graph) error {
	for n := range g.Nodes() {
		for _, in := range n.Inputs() {
			t := g.Initializer(in)
			if t == nil || t.DataType != onnx.Float {
				continue
			}
			v, err := t.Float32s()
			if err != nil {
				return sdk.AttrError("model", "a constant cannot be read", err.Error())
			}
			// The bound of a Clip or the filling of a mask may well be infinite; a NaN never is meant.
			for i, x := range v {
				if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) && t.Elements() > 1 {
					return sdk.AttrError("model", "the model holds a weight that is no number",
						fmt.Sprintf("Element %d of %q, which node %q (%s) reads, is %v.", i, in, nodeName(n), n.OpType, x))
				}
			}
		}
	}
	return nil
}

// nodeName is how a node is called in messages: by its name, else by its first output.
func nodeName(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}
