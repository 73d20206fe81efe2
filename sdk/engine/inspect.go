package engine

// Inspection is the document optimize.inspect/v1: what is in a model, without running it.
type Inspection struct {
	Schema     string `json:"schema"`
	Format     string `json:"format"`
	Size       int64  `json:"size"` // bytes, with the files that hold its weights
	Parameters int64  `json:"parameters"`
	MACs       int64  `json:"macs"` // of one sample
	// Opset is of ONNX alone.
	Opset     int64            `json:"opset,omitempty"`
	IRVersion int64            `json:"ir_version"`
	Producer  string           `json:"producer"`
	Inputs    []ValueInspected `json:"inputs"`
	Outputs   []ValueInspected `json:"outputs"`
	Ops       map[string]int   `json:"ops"`
	Weights   map[string]int64 `json:"weights"` // bytes by element type
	Quantized bool             `json:"quantized"`
	// Missing are files of weights that the model names and that are not there, or not whole.
	Missing []string `json:"missing,omitempty"`
}

// ValueInspected is an input or output; an axis is a number, a name, or "?". A null
// shape says that the model does not state one.
type ValueInspected struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []any  `json:"shape"`
}
