package recipe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// large is a recipe of about n steps: chains of ten, and two steps with for_each of which each instance of one takes that of the
// other.
func large(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "model \"m\" { source = \"m.onnx\" }\ndataset \"d\" { source = \"d.npz\" }\nlocals { parts = { for i in range(%d) : format(\"p%%04d\", i) => i } }\n", n/4)
	for i := range n / 2 {
		model := "model.m"
		if i%10 > 0 {
			model = fmt.Sprintf("step.s%d.model", i-1)
		}
		fmt.Fprintf(&b, "step \"quantize_static\" \"s%d\" {\n  model = %s\n  calibration = dataset.d\n  layer \"a\" { bits = %d }\n}\n", i, model, i)
	}
	b.WriteString("step \"quantize_static\" \"a\" {\n  for_each = local.parts\n  model = model.m\n  calibration = dataset.d\n  layer \"a\" { bits = each.value }\n}\n")
	b.WriteString("step \"quantize_static\" \"b\" {\n  for_each = local.parts\n  model = step.a[each.key].model\n  calibration = dataset.d\n  layer \"a\" { bits = each.value }\n}\n")
	return b.String()
}

// BenchmarkLarge checks recipes of more and more steps; the time for one step stays the same.
func BenchmarkLarge(b *testing.B) {
	ty := types()
	for _, n := range []int{1000, 2000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "r.hcl")
			if err := os.WriteFile(path, []byte(large(n)), 0o644); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r, ds := Load(path)
				if ds.HasErrors() {
					b.Fatal(ds)
				}
				p, ds := r.Check(nil, ty, []string{"quantize"})
				if ds.HasErrors() {
					b.Fatal(ds)
				}
				for _, n := range p.Nodes() {
					walk(p, n)
				}
			}
		})
	}
}
