package onnx

import (
	"bytes"
	"runtime"
	"testing"
)

func FuzzParse(f *testing.F) {
	_, b := readDigits(f)
	f.Add(b[:2000])
	f.Add(manyNodes(3))
	f.Add(bigModel(4, true))
	f.Add(bigModel(4, false))
	f.Add([]byte(message(nil).varint(1, 3).bytes(7, message(nil).bytes(1, message(nil).text(1, "a").text(2, "a").text(4, "Softmax")).
		bytes(5, message(nil).varint(2, 7).varint(7, 3).text(8, "a")).bytes(11, message(nil).text(1, "a"))).bytes(8, message(nil).varint(2, 11))))
	for _, m := range foldingModels(f) {
		f.Add(marshal(f, m))
	}
	for _, m := range simplifyModels() {
		f.Add(marshal(f, m))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, m, err := parseBytes(in)
		if most := maxParseBytes(len(in)); got > most {
			t.Errorf("%d bytes took %d bytes of memory, more than %d", len(in), got, most)
		}
		if err != nil {
			return
		}
		completed := m.IRVersion > 0 && m.IRVersion < 4
		out, err := m.Marshal()
		if err != nil || !bytes.Equal(in, out) && !completed {
			t.Fatalf("not written as it was read: %v", err)
		}
		if _, err := Parse(out); err != nil {
			t.Fatalf("what was written does not parse: %v", err)
		}
		forget(m)
		if out, err = m.Marshal(); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("what was written anew does not parse: %v", err)
		}
		exercise(again)
	})
}

// exercise runs everything that looks at a model; none of it may panic, whatever
// the model says.
func exercise(m *Model) {
	_ = Check(m)
	s, err := InferShapes(m)
	if err == nil {
		CountMACs(m, s)
		s.WriteTo(m.Graph)
	}
	CountParameters(m)
	_ = m.UpgradeOpset(maxOpset)
	_, _ = ConstantsToInitializers(m)
	_, _ = EliminateIdentity(m)
	_, _ = FoldBatchNorm(m)
	_ = m.Graph.TopoSort()
	m.Graph.Prune()
	m.Graph.UniqueName("x")
	_, _ = m.Marshal()
}

// simplifyModels are small models that give the passes something to do.
func simplifyModels() []*Model {
	m := manySimple(8)
	m.Graph.AppendNode(node("Shape", "s", "y"))
	m.Graph.AppendNode(with(node("ConstantOfShape", "c", "s"), TensorAttr("value", NewFloats("", []float32{2}, 1))))
	m.Graph.AppendNode(node("Add", "out", "c", "y"))
	m.Graph.AddOutput(NewValueInfo("out", Float, nil))
	return []*Model{m, geluModel()}
}

// FuzzSimplify: whatever a model says, it is simplified or refused, and what comes out
// can be written and read. Constants grow no more than they may.
func FuzzSimplify(f *testing.F) {
	for _, m := range foldingModels(f) {
		f.Add(marshal(f, m))
	}
	for _, m := range simplifyModels() {
		f.Add(marshal(f, m))
	}
	f.Add(marshal(f, functionModel(f)))
	rule := MustRule(geluRule)
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Parse(in)
		if err != nil {
			return
		}
		valid := Check(m) == nil
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = SparseToDense(m, 10*int64(len(in)))
		_, _ = InlineFunctions(m)
		rule.Apply(m)
		_, err = Simplify(m, SimplifyOptions{MaxGrowth: -1})
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(256<<20+4096*len(in)); got > most {
			t.Errorf("%d bytes took %d bytes of memory, more than %d", len(in), got, most)
		}
		if err != nil {
			return
		}
		for t := range m.AllTensors() {
			_, _ = t.Float32s()
			_, _ = t.Ints()
		}
		out, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("what was simplified does not parse: %v", err)
		}
		if valid {
			if err := Check(again); err != nil {
				t.Errorf("a valid model became an invalid one: %v", err)
			}
		}
	})
}

// FuzzRule: a rule is read or refused, and what was read can be applied.
func FuzzRule(f *testing.F) {
	f.Add(geluRule)
	f.Add("p, q = a.b.Split<axis=-1, x=0.5, n=[1, 2], s=\"a,b\">(x, $w, , 1e-3, _)\ny = Add(p, x) # note\n=>\nr = Conv<...p, a=1>(x, w, [0, -1])\ny = Neg(r)")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := NewRule(text)
		if err != nil {
			return
		}
		m := geluModel()
		r.Apply(m)
		if _, err := m.Marshal(); err != nil {
			t.Error(err)
		}
	})
}
