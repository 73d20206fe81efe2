package lower

import (
	"github.com/optimize-hcl/optimize/onnx"
)

var quantizations = []Rule{}

var _ onnx.DataType
