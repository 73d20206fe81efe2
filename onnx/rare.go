package onnx

import "slices"

// A graph that is read takes at most ten times its bytes (see budgetPerByte), and an
// attribute may have ten bytes. So what few messages hold lies behind one pointer each.
// Copies of a message share what is behind it: setters replace it and never write to it.

type nodeRare struct {
	overload, doc string
	metadata      []StringPair
	unknown       []byte
}

type attrRare struct {
	doc, ref string // ref is ref_attr_name
	floats   []float32
	strings  [][]byte
	tensors  []*Tensor
	graphs   []*Graph // of GRAPH (one) and GRAPHS
	unknown  []byte
}

type tensorRare struct {
	doc      string
	metadata []StringPair
	strings  [][]byte
	external []StringPair
	more     []typedField
	unknown  []byte
}

// typedField is one of a tensor's lists of numbers, packed: fixed-width ones are the
// elements themselves, so they too are used without a copy.
type typedField struct {
	num  uint8 // of the field: 4 float_data, 5 int32_data, 7 int64_data, 10 double_data, 11 uint64_data
	data []byte
}

type graphRare struct {
	doc         string
	metadata    []StringPair
	sparse      [][]byte // sparse_initializer messages, not decoded
	sparseNames []string
	unknown     []byte
}

type valueRare struct {
	doc      string
	metadata []StringPair
	unknown  []byte
}

type typeRare struct {
	denotation                   string
	other                        []byte // a kind other than tensor: its message
	unknown, tensorUnk, shapeUnk []byte
}

type dimRare struct {
	denotation string
	unknown    []byte
}

// rareOf returns what is behind the pointer; behind none there is nothing.
func rareOf[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}

// setRare changes what is behind the pointer, in a copy.
func setRare[T any](p **T, change func(*T)) {
	c := rareOf(*p)
	change(&c)
	*p = &c
}

// Overload returns the node's overload: which of several functions of one name it calls.
func (n *Node) Overload() string { return rareOf(n.rare).overload }

// DocString returns the node's doc_string.
func (n *Node) DocString() string { return rareOf(n.rare).doc }

// Metadata returns the node's metadata_props. The slice must not be changed.
func (n *Node) Metadata() []StringPair { return rareOf(n.rare).metadata }

// SetDocString replaces the node's doc_string.
func (n *Node) SetDocString(doc string) { setRare(&n.rare, func(r *nodeRare) { r.doc = doc }) }

// SetMetadata replaces the node's metadata_props.
func (n *Node) SetMetadata(pairs ...StringPair) {
	setRare(&n.rare, func(r *nodeRare) { r.metadata = slices.Clone(pairs) })
}

// DocString returns the attribute's doc_string.
func (a *Attribute) DocString() string { return rareOf(a.rare).doc }

// RefName returns ref_attr_name: in a function, whose attribute this one stands for.
func (a *Attribute) RefName() string {
	if a.rare == nil {
		return ""
	}
	return a.rare.ref
}

// Floats returns the value of an attribute of type FLOATS. The slice must not be changed.
func (a *Attribute) Floats() []float32 { return rareOf(a.rare).floats }

// Strings returns the value of an attribute of type STRINGS. The slices must not be changed.
func (a *Attribute) Strings() [][]byte { return rareOf(a.rare).strings }

// Tensors returns the value of an attribute of type TENSORS. The slice must not be changed.
func (a *Attribute) Tensors() []*Tensor { return rareOf(a.rare).tensors }

// Graphs returns the subgraphs of an attribute of type GRAPH or GRAPHS. The slice
// must not be changed.
func (a *Attribute) Graphs() []*Graph {
	if a.rare == nil {
		return nil
	}
	return a.rare.graphs
}

// DocString returns the tensor's doc_string.
func (t *Tensor) DocString() string { return rareOf(t.rare).doc }

// Metadata returns the tensor's metadata_props. The slice must not be changed.
func (t *Tensor) Metadata() []StringPair { return rareOf(t.rare).metadata }

// Strings returns the elements of a tensor of strings. The slices must not be changed.
func (t *Tensor) Strings() [][]byte { return rareOf(t.rare).strings }

// External tells where the bytes are when they are not in the model: keys location,
// offset, length, checksum. ReadFile loads them, and nothing is left of it then.
func (t *Tensor) External() []StringPair { return rareOf(t.rare).external }

// typed returns a list of numbers by the number of its field, nil when it is not there.
func (t *Tensor) typed(num uint8) []byte {
	if t.listNum == num {
		return t.list
	}
	for _, f := range rareOf(t.rare).more {
		if f.num == num {
			return f.data
		}
	}
	return nil
}

// DocString returns the graph's doc_string.
func (g *Graph) DocString() string { return rareOf(g.rare).doc }

// Metadata returns the graph's metadata_props. The slice must not be changed.
func (g *Graph) Metadata() []StringPair { return rareOf(g.rare).metadata }

// sparseNames returns the names of the graph's sparse initializers.
func (g *Graph) sparseNames() []string {
	if g.rare == nil {
		return nil
	}
	return g.rare.sparseNames
}

// DocString returns the value's doc_string.
func (v *ValueInfo) DocString() string { return rareOf(v.rare).doc }

// Metadata returns the value's metadata_props. The slice must not be changed.
func (v *ValueInfo) Metadata() []StringPair { return rareOf(v.rare).metadata }

// SetDocString replaces the value's doc_string.
func (v *ValueInfo) SetDocString(doc string) { setRare(&v.rare, func(r *valueRare) { r.doc = doc }) }

// Denotation returns what the type stands for, like "IMAGE".
func (t *Type) Denotation() string { return rareOf(t.rare).denotation }

// Denotation returns what the axis stands for, like "DATA_CHANNEL".
func (d Dim) Denotation() string { return rareOf(d.rare).denotation }
