package onnx

// AttributeType is AttributeProto.AttributeType.
type AttributeType int32

// The types of attributes.
const (
	AttrUndefined     AttributeType = 0
	AttrFloat         AttributeType = 1
	AttrInt           AttributeType = 2
	AttrString        AttributeType = 3
	AttrTensor        AttributeType = 4
	AttrGraph         AttributeType = 5
	AttrFloats        AttributeType = 6
	AttrInts          AttributeType = 7
	AttrStrings       AttributeType = 8
	AttrTensors       AttributeType = 9
	AttrGraphs        AttributeType = 10
	AttrSparseTensor  AttributeType = 11
	AttrSparseTensors AttributeType = 12
	AttrTypeProto     AttributeType = 13
	AttrTypeProtos    AttributeType = 14
)

// Attribute is an AttributeProto. Type says which field or method has the value.
// Sparse tensors and types are kept as bytes and have none.
type Attribute struct {
	Name string
	Type AttributeType
	F    float32
	I    int64
	S    []byte
	T    *Tensor
	Ints []int64

	rare *attrRare
	raw  string // the message it was read from; "": made in memory
}

// IntAttr makes an attribute of type INT.
func IntAttr(name string, v int64) *Attribute { return &Attribute{Name: name, Type: AttrInt, I: v} }

// IntsAttr makes an attribute of type INTS.
func IntsAttr(name string, v ...int64) *Attribute {
	return &Attribute{Name: name, Type: AttrInts, Ints: v}
}

// FloatAttr makes an attribute of type FLOAT.
func FloatAttr(name string, v float32) *Attribute {
	return &Attribute{Name: name, Type: AttrFloat, F: v}
}

// FloatsAttr makes an attribute of type FLOATS.
func FloatsAttr(name string, v ...float32) *Attribute {
	return &Attribute{Name: name, Type: AttrFloats, rare: &attrRare{floats: v}}
}

// StringAttr makes an attribute of type STRING.
func StringAttr(name, v string) *Attribute {
	return &Attribute{Name: name, Type: AttrString, S: []byte(v)}
}

// StringsAttr makes an attribute of type STRINGS.
func StringsAttr(name string, v ...string) *Attribute {
	list := make([][]byte, len(v))
	for i, s := range v {
		list[i] = []byte(s)
	}
	return &Attribute{Name: name, Type: AttrStrings, rare: &attrRare{strings: list}}
}

// TensorAttr makes an attribute of type TENSOR.
func TensorAttr(name string, t *Tensor) *Attribute {
	return &Attribute{Name: name, Type: AttrTensor, T: t}
}

// GraphAttr makes an attribute of type GRAPH. A graph belongs to one attribute.
func GraphAttr(name string, g *Graph) *Attribute {
	return &Attribute{Name: name, Type: AttrGraph, rare: &attrRare{graphs: []*Graph{g}}}
}

// Graph returns the value of an attribute of type GRAPH, else nil.
func (a *Attribute) Graph() *Graph {
	if gs := a.Graphs(); a.Type == AttrGraph && len(gs) > 0 {
		return gs[0]
	}
	return nil
}

// RefAttr makes an attribute that stands, in a function, for the one called ref of the
// node that calls the function.
func RefAttr(name, ref string, t AttributeType) *Attribute {
	return &Attribute{Name: name, Type: t, rare: &attrRare{ref: ref}}
}
