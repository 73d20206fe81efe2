package mil

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// tiny is a network as small as one gets: convolution, ReLU, mean over space, a linear layer.
func tiny() *Model {
	m := &Model{Inputs: []Feature{{Name: "image", Type: of(Float32, 1, 3, 8, 8)}}, Outputs: []Feature{{Name: "logits", Type: of(Float32, 1, 10)}}}
	f := &m.Main
	f.Opset = 5
	f.Inputs = []Named{{"image", of(Float32, 1, 3, 8, 8)}}
	f.Outputs = []string{"logits"}
	constant := func(name string, v Value) string {
		f.Ops = append(f.Ops, &Operation{Type: "const", Outputs: []Named{{name, v.Type}}, Attrs: []Attr{{"val", v}}})
		return name
	}
	weight := func(name string, shape ...int64) string {
		f.Ops = append(f.Ops, &Operation{Type: "const", Outputs: []Named{{name, of(Float32, shape...)}}, Weight: counted{}})
		return name
	}
	op := func(kind, out string, t Type, args ...string) string {
		o := &Operation{Type: kind, Outputs: []Named{{out, t}}}
		for i := 0; i < len(args); i += 2 {
			o.Inputs = append(o.Inputs, Arg{Key: args[i], Names: []string{args[i+1]}})
		}
		f.Ops = append(f.Ops, o)
		return out
	}
	op("conv", "conv", of(Float32, 1, 4, 4, 4), "x", "image", "weight", weight("conv_w", 4, 3, 3, 3), "bias", weight("conv_b", 4), "strides", constant("conv_strides", Ints(2, 2)),
		"pad_type", constant("conv_pt", Text("custom")), "pad", constant("conv_pad", Ints(1, 1, 1, 1)), "dilations", constant("conv_dil", Ints(1, 1)), "groups", constant("conv_groups", Int(1)))
	op("relu", "relu", of(Float32, 1, 4, 4, 4), "x", "conv")
	op("reduce_mean", "gap", of(Float32, 1, 4, 1, 1), "x", "relu", "axes", constant("gap_axes", Ints(2, 3)), "keep_dims", constant("gap_keep", Truth(true)))
	op("reshape", "flat", of(Float32, 1, 4), "x", "gap", "shape", constant("flat_shape", Ints(1, 4)))
	op("linear", "logits", of(Float32, 1, 10), "x", "flat", "weight", weight("fc_w", 10, 4), "bias", weight("fc_b", 10))
	return m
}

// counted is a weight of the numbers 0, 1, 2 ...
type counted struct{}

func (counted) Settle(op *Operation, w *Weights) ([]*Operation, error) {
	t := op.Outputs[0].Type
	b := make([]byte, 4*t.Elements())
	for i := range b {
		b[i] = byte(i % 61)
	}
	v, err := w.Add(t, b)
	op.Attrs = []Attr{{"val", v}}
	return nil, err
}

// corrupted is a package as bytes, for a case to spoil.
type corrupted struct {
	t     *testing.T
	model *Model // of the specification; written back unless spec was changed
	spec  []byte
	blobs []byte
	list  map[string]any // the manifest
	gone  bool           // the file of weights is not there
}

// op finds the operation that makes a value.
func (c *corrupted) op(name string) *Operation {
	i := slices.IndexFunc(c.model.Main.Ops, func(o *Operation) bool { return o.Outputs[0].Name == name })
	return c.model.Main.Ops[i]
}

// val is the value of a constant.
func (c *corrupted) val(name string) *Value { return &c.op(name).Attrs[0].Value }

// drop takes an argument away.
func (c *corrupted) drop(op, key string) {
	o := c.op(op)
	o.Inputs = slices.DeleteFunc(o.Inputs, func(a Arg) bool { return a.Key == key })
}

// arg makes an argument another value.
func (c *corrupted) arg(op, key, name string) {
	for i, a := range c.op(op).Inputs {
		if a.Key == key {
			c.op(op).Inputs[i].Names = []string{name}
		}
	}
}

// raw changes the bytes of the message at a path of fields, the first of each.
func (c *corrupted) raw(change func([]byte) []byte, path ...protowire.Number) {
	c.spec = edit(c.t, c.model.Marshal(), change, path)
}

func edit(t *testing.T, b []byte, change func([]byte) []byte, path []protowire.Number) []byte {
	if len(path) == 0 {
		return change(b)
	}
	var out []byte
	done := false
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if n < 0 || m < 0 {
			t.Fatal("no message")
		}
		if num == path[0] && !done {
			done = true
			inner, _ := protowire.ConsumeBytes(b[n:])
			out = protowire.AppendBytes(protowire.AppendTag(out, num, typ), edit(t, inner, change, path[1:]))
		} else {
			out = append(out, b[:n+m]...)
		}
		b = b[n+m:]
	}
	return out
}

// number appends a varint field, which wins over an earlier one.
func number(f protowire.Number, v uint64) func([]byte) []byte {
	return func(b []byte) []byte {
		return protowire.AppendVarint(protowire.AppendTag(slices.Clone(b), f, protowire.VarintType), v)
	}
}

// corruptions are what can be wrong with a package: the list that showed what coremltools accepts (15 of them) and refuses.
var corruptions = map[string]struct {
	spoil func(*corrupted)
	want  string
}{
	"output type":  {func(c *corrupted) { c.op("relu").Outputs[0].Type.DataType = Float16 }, "is declared as fp16"},
	"output shape": {func(c *corrupted) { c.op("conv").Outputs[0].Type.Shape[2] = 5 }, "is declared as fp32 [1 4 5 4]"},
	"output rank":  {func(c *corrupted) { c.op("gap").Outputs[0].Type.Shape = []int64{1, 4} }, "is declared as fp32 [1 4]"},
	"no weight":    {func(c *corrupted) { c.drop("conv", "weight") }, "no argument weight"},
	"no strides":   {func(c *corrupted) { c.drop("conv", "strides") }, "no argument strides"},
	"no pad":       {func(c *corrupted) { c.drop("conv", "pad") }, "no argument pad"},
	"unknown argument": {func(c *corrupted) {
		o := c.op("conv")
		o.Inputs = append(o.Inputs, Arg{"bogus", []string{"image"}, nil})
	}, "no argument bogus"},
	"unknown operation": {func(c *corrupted) { c.op("relu").Type = "reluu" }, `no operation "reluu"`},
	"long pad":          {func(c *corrupted) { c.val("conv_pad").Data = append(c.val("conv_pad").Data, 1, 0, 0, 0) }, "has 20 bytes"},
	"pad of five": {func(c *corrupted) {
		*c.val("conv_pad") = Ints(1, 1, 1, 1, 1)
		c.op("conv_pad").Outputs[0].Type.Shape[0] = 5
	}, "pad has 5 numbers"},
	"pad_type":        {func(c *corrupted) { *c.val("conv_pt") = Text("foo") }, `pad_type cannot be "foo"`},
	"constant's type": {func(c *corrupted) { c.op("conv_pad").Outputs[0].Type.DataType = Float32 }, "its value is int32"},
	"groups":          {func(c *corrupted) { *c.val("conv_groups") = Int(2) }, "channels of x"},
	"groups as vector": {func(c *corrupted) {
		*c.val("conv_groups") = Ints(1)
		c.op("conv_groups").Outputs[0].Type.Shape = []int64{1}
	}, "groups is no constant scalar"},
	"offset of data":       {func(c *corrupted) { c.val("conv_w").Offset += 64 }, "is not that of a blob"},
	"offset unaligned":     {func(c *corrupted) { c.val("conv_w").Offset++ }, "is not that of a blob"},
	"offset out of file":   {func(c *corrupted) { c.val("conv_w").Offset = 64 * 100000 }, "is not that of a blob"},
	"another blob":         {func(c *corrupted) { c.val("conv_w").Offset = c.val("fc_w").Offset }, "takes 432"},
	"blob too short":       {func(c *corrupted) { c.val("fc_w").Shape[0] = 11; c.op("fc_w").Outputs[0].Type.Shape[0] = 11 }, "takes 176"},
	"blob of another type": {func(c *corrupted) { c.val("fc_w").DataType = Float16; c.op("fc_w").Outputs[0].Type.DataType = Float16 }, "not of fp16"},
	"weights elsewhere":    {func(c *corrupted) { c.file("@model_path/nowhere/weight.bin") }, "in the file"},
	"weights' file":        {func(c *corrupted) { c.file("@model_path/weights/w.bin") }, "in the file"},
	"sentinel":             {func(c *corrupted) { copy(c.blobs[64:], []byte{0, 0, 0, 0}) }, "no blob at 64"},
	"weights' version":     {func(c *corrupted) { c.blobs[4] = 1 }, "no header of version 2"},
	"count":                {func(c *corrupted) { c.blobs[0] = 99 }, "says that it has 99 blobs"},
	"blob's type":          {func(c *corrupted) { c.blobs[68] = 1 }, "of type 1"},
	"blob's size":          {func(c *corrupted) { le.PutUint64(c.blobs[72:], 216) }, "has 216 bytes"},
	"truncated":            {func(c *corrupted) { c.blobs = c.blobs[:len(c.blobs)-100] }, "weight.bin"},
	"no weights":           {func(c *corrupted) { c.gone = true }, "there is no weights/weight.bin"},
	"description's shape":  {func(c *corrupted) { c.model.Inputs[0].Type.Shape[2] = 64 }, "input image: the description tells"},
	"description's type":   {func(c *corrupted) { c.model.Inputs[0].Type.DataType = Float16 }, "input image: the description tells"},
	"description's name":   {func(c *corrupted) { c.model.Inputs[0].Name = "img" }, "no such input"},
	"description's output": {func(c *corrupted) { c.model.Outputs[0].Name = "zzz" }, "no such output"},
	"unknown opset":        {func(c *corrupted) { c.model.Main.Opset = 99 }, "no operator set CoreML99"},
	"opset without block": {func(c *corrupted) {
		c.raw(text("CoreML7"), 502, 2, 2, 2)
	}, `has a block of "CoreML5"`},
	"version 99":        {func(c *corrupted) { c.raw(number(1, 99)) }, "version is 99"},
	"version 1":         {func(c *corrupted) { c.raw(number(1, 1)) }, "version is 1"},
	"program version":   {func(c *corrupted) { c.raw(number(1, 2), 502) }, "program's version is 2"},
	"name with dots":    {func(c *corrupted) { c.op("relu").Outputs[0].Name = "a/b.c:0"; c.arg("gap", "x", "a/b.c:0") }, "is no legal name"},
	"name with a digit": {func(c *corrupted) { c.op("relu").Outputs[0].Name = "12"; c.arg("gap", "x", "12") }, "is no legal name"},
	"too early":         {func(c *corrupted) { c.arg("conv", "x", "gap") }, "no operation before it"},
	"name twice":        {func(c *corrupted) { c.op("gap").Outputs[0].Name = "relu"; c.arg("flat", "x", "relu") }, "given twice"},
	"undefined output":  {func(c *corrupted) { c.model.Main.Outputs[0] = "nope" }, "no operation makes it"},
	"no name":           {func(c *corrupted) { c.dropName() }, "no attribute name"},
	"attribute":         {func(c *corrupted) { c.op("relu").Attrs = []Attr{{"zz", Text("x")}} }, "has an attribute zz"},
	"int64": {func(c *corrupted) {
		v := c.val("gap_axes")
		v.DataType = Int64
		v.Data = append(v.Data, v.Data...)
		c.op("gap_axes").Outputs[0].Type.DataType = Int64
	}, "int64"},
	"function's type":     {func(c *corrupted) { c.model.Main.Inputs[0].Type.DataType = Float16 }, "the others are fp16"},
	"function's shape":    {func(c *corrupted) { c.model.Main.Inputs[0].Type.Shape[2] = 64 }, "input image: the description tells"},
	"function's channels": {func(c *corrupted) { c.model.Main.Inputs[0].Type.Shape[1] = 4 }, "channels of x"},
	"manifest's root":     {func(c *corrupted) { delete(c.list, "rootModelIdentifier") }, "which item is the model"},
	"manifest's author":   {func(c *corrupted) { c.items(func(it map[string]any) bool { delete(it, "author"); return true }) }, "no author"},
	"manifest's weights":  {func(c *corrupted) { c.items(func(it map[string]any) bool { return it["name"] != "weights" }) }, "no item for the weights"},
	"manifest's version":  {func(c *corrupted) { c.list["fileFormatVersion"] = "2.0.0" }, "fileFormatVersion"},
	// Beside that list.
	"rank 6": {func(c *corrupted) {
		*c.val("flat_shape") = Ints(1, 4, 1, 1, 1, 1)
		c.op("flat_shape").Outputs[0].Type.Shape[0] = 6
	}, "6 axes"},
	"half, at once": {func(c *corrupted) {
		*c.val("conv_dil") = Value{Type: of(Float16, 2), Data: make([]byte, 4)}
		c.op("conv_dil").Outputs[0].Type = of(Float16, 2)
	}, "must be in the file of weights"},
	"a function": {func(c *corrupted) { c.raw(text("main2"), 502, 2, 1) }, `a function "main2"`},
}

// text puts another text in the place of one.
func text(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }

func (c *corrupted) file(name string) {
	c.spec = []byte(strings.Replace(string(c.model.Marshal()), weightsReference, name[:min(len(name), len(weightsReference))]+strings.Repeat("x", max(0, len(weightsReference)-len(name))), 1))
}

func (c *corrupted) dropName() {
	s := c.model.Marshal()
	i := strings.Index(string(s), "\x04name")
	c.spec = slices.Clone(s)
	copy(c.spec[i+1:], "nome")
}

func (c *corrupted) items(f func(map[string]any) bool) {
	items := c.list["itemInfoEntries"].(map[string]any)
	for id, it := range items {
		if !f(it.(map[string]any)) {
			delete(items, id)
		}
	}
}

// TestLint: a sound package has nothing wrong; each corruption is found, and told.
func TestLint(t *testing.T) {
	sound := filepath.Join(t.TempDir(), "tiny.mlpackage")
	if _, err := WritePackage(sound, tiny()); err != nil {
		t.Fatal(err)
	}
	p, err := ReadPackage(sound)
	if err != nil {
		t.Fatal(err)
	}
	if found := p.Lint(); len(found) > 0 {
		t.Fatal(found)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(sound, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	spec, blobs, list := read(dataFolder+"/"+specFile), read(dataFolder+"/"+weightFile), read(manifestFile)
	for name, k := range corruptions {
		t.Run(name, func(t *testing.T) {
			m, _, err := Unmarshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			c := &corrupted{t: t, model: m, blobs: slices.Clone(blobs)}
			if err := json.Unmarshal(list, &c.list); err != nil {
				t.Fatal(err)
			}
			k.spoil(c)
			if c.spec == nil {
				c.spec = c.model.Marshal()
			}
			dir := t.TempDir()
			for file, b := range map[string][]byte{dataFolder + "/" + specFile: c.spec, dataFolder + "/" + weightFile: c.blobs, manifestFile: mustJSON(c.list)} {
				path := filepath.Join(dir, file)
				if c.gone && file == dataFolder+"/"+weightFile {
					continue
				}
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var found []string
			p, err := ReadPackage(dir)
			if err != nil {
				found = append(found, err.Error())
			} else {
				for _, e := range p.Lint() {
					found = append(found, e.Error())
				}
				defer p.Close()
			}
			if all := strings.Join(found, "\n"); !strings.Contains(all, k.want) {
				t.Errorf("found is %q, and %q is not", all, k.want)
			}
		})
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
