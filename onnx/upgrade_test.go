package onnx

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func opsetModel(from int64, op string, in []string, attrs ...*Attribute) *Model {
	m := NewModel("g", from)
	m.IRVersion = irForOpset(from)
	m.Graph.AddInput(parseValue("x", "FLOAT N 3 4 4"))
	for _, s := range in {
		if s != "" && s != "x" {
			m.Graph.AddInitializer(NewFloats(s, []float32{1, 1, 2, 2}, 4))
		}
	}
	m.Graph.AppendNode(NewNode(op, "", "n", in, []string{"y"}, attrs...))
	m.Graph.AddOutput(NewValueInfo("y", Float, nil))
	return m
}

func TestUpgradeOpset(t *testing.T) {
	for _, test := range []struct {
		from, to int64
		op       string
		in       []string
		attrs    []*Attribute
		want     string // op(inputs) attributes, constants by value
	}{
		{6, 13, "Add", []string{"x", "w"}, []*Attribute{IntAttr("broadcast", 1)}, "Add(x w)"},
		{9, 10, "Slice", []string{"x"}, []*Attribute{IntsAttr("starts", 1), IntsAttr("ends", 2), IntsAttr("axes", 3)}, "Slice(x [1] [2] [3])"},
		{9, 13, "TopK", []string{"x"}, []*Attribute{IntAttr("k", 2)}, "TopK(x [2])"},
		{10, 11, "Clip", []string{"x"}, []*Attribute{FloatAttr("min", 0), FloatAttr("max", 6)}, "Clip(x [0] [6])"},
		{10, 11, "Clip", []string{"x"}, []*Attribute{FloatAttr("max", 6)}, "Clip(x  [6])"},
		{10, 11, "Pad", []string{"x"}, []*Attribute{IntsAttr("pads", 0, 0, 1, 1, 0, 0, 1, 1), FloatAttr("value", 0), StringAttr("mode", "constant")}, "Pad(x [0 0 1 1 0 0 1 1]) mode"},
		{8, 13, "Upsample", []string{"x"}, []*Attribute{FloatsAttr("scales", 1, 1, 2, 2), StringAttr("mode", "nearest")}, "Resize(x [] [1 1 2 2]) mode coordinate_transformation_mode nearest_mode"},
		{11, 12, "Dropout", []string{"x"}, []*Attribute{FloatAttr("ratio", 0.25)}, "Dropout(x [0.25])"},
		{12, 13, "Squeeze", []string{"x"}, []*Attribute{IntsAttr("axes", 1)}, "Squeeze(x [1])"},
		{12, 13, "ReduceSum", []string{"x"}, []*Attribute{IntsAttr("axes", 1)}, "ReduceSum(x [1])"},
		{12, 13, "ReduceMean", []string{"x"}, []*Attribute{IntsAttr("axes", 1)}, "ReduceMean(x) axes"},
		{12, 18, "ReduceMean", []string{"x"}, []*Attribute{IntsAttr("axes", 1)}, "ReduceMean(x [1])"},
		{12, 18, "Split", []string{"x"}, nil, "Split(x) num_outputs"},
		{12, 18, "Split", []string{"x"}, []*Attribute{IntsAttr("split", 1)}, "Split(x [1])"},
		{12, 13, "Softmax", []string{"x"}, []*Attribute{IntAttr("axis", -1)}, "Softmax(x) axis"},
		{12, 13, "Softmax", []string{"x"}, nil, "Shape(x) Flatten(x) axis Softmax(y_flat) axis Reshape(y_soft y_shape)"},
		{15, 16, "RoiAlign", []string{"x"}, nil, "RoiAlign(x) coordinate_transformation_mode"},
		{16, 20, "GridSample", []string{"x", "w"}, []*Attribute{StringAttr("mode", "bilinear")}, "GridSample(x w) mode"},
		{13, 23, "Relu", []string{"x"}, nil, "Relu(x)"},
	} {
		m := opsetModel(test.from, test.op, test.in, test.attrs...)
		if err := m.UpgradeOpset(test.to); err != nil {
			t.Errorf("%s from %d: %v", test.op, test.from, err)
			continue
		}
		var got []string
		for n := range m.Graph.Nodes() {
			var in []string
			for i, s := range n.Inputs() {
				w := m.Graph.Initializer(s)
				if w == nil || slices.Contains(test.in, s) {
					in = append(in, s)
					continue
				}
				v, err := w.Float32s()
				if err != nil {
					t.Errorf("%s: input %d: %v", test.op, i, err)
				}
				in = append(in, fmt.Sprint(v))
			}
			s := n.OpType + "(" + strings.Join(in, " ") + ")"
			for _, a := range n.Attributes() {
				s += " " + a.Name
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s from %d to %d: %s, want %s", test.op, test.from, test.to, s, test.want)
		}
		if m.Opset("") != test.to || m.IRVersion < irForOpset(test.to) {
			t.Errorf("%s: opset %d, IR version %d", test.op, m.Opset(""), m.IRVersion)
		}
		if err := Check(m); err != nil {
			t.Errorf("%s: %v", test.op, err)
		}
	}
}

func TestUpgradeRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		m    *Model
		to   int64
		node string
	}{
		"lower":            {opsetModel(13, "Relu", []string{"x"}), 12, ""},
		"unknown":          {opsetModel(13, "Relu", []string{"x"}), 99, ""},
		"too old":          {opsetModel(5, "Relu", []string{"x"}), 13, ""},
		"broadcast axis":   {opsetModel(6, "Add", []string{"x", "w"}, IntAttr("broadcast", 1), IntAttr("axis", 1)), 13, "n"},
		"training":         {opsetModel(6, "BatchNormalization", []string{"x", "w", "w", "w", "w"}), 13, "n"},
		"group norm":       {opsetModel(18, "GroupNormalization", []string{"x", "w", "w"}), 21, "n"},
		"slope by channel": {opsetModel(6, "PRelu", []string{"x", "w"}), 7, "n"},
	} {
		before := test.m.Opset("")
		err := test.m.UpgradeOpset(test.to)
		var e *UpgradeError
		if !errors.As(err, &e) || e.Node != test.node || test.m.Opset("") != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := opsetModel(13, "Relu", []string{"x"}).UpgradeOpset(13); err != nil {
		t.Error("to where it is:", err)
	}
	m := opsetModel(13, "Relu", []string{"x"})
	m.Opsets = nil
	if m.UpgradeOpset(14) == nil {
		t.Error("without an operator set")
	}
}
