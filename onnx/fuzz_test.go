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
	f.Fuzz(func(t *testing.T, in []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := Parse(in)
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(2*budgetBase+2*budgetPerByte*len(in)); got > most {
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
