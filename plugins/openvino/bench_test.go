package openvino

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
)

// BenchmarkExport takes turns between OpenVINO's calls alone and the step, on a model of 90 MB, and tells the ratios of medians:
// step/bare is the step as it is by default against read_model and save_model, plain/bare the same with simplify = false, step/passes the
// step against those calls with the passes that it runs between them, and again/bare the noise.
func BenchmarkExport(b *testing.B) {
	needLibrary(b)
	const count, size = 90, 512
	m := onnx.NewModel("large", 17)
	m.Graph.AddInput(onnx.NewValueInfo("v0", onnx.Float, []onnx.Dim{{Value: 1}, {Value: size}}))
	for i := range count {
		w := make([]float32, size*size)
		for k := range w {
			w[k] = float32((k*7+i*13)%1009)/1009 - 0.5
		}
		name, last := fmt.Sprintf("w%d", i), fmt.Sprintf("v%d", i)
		m.Graph.AddInitializer(onnx.NewFloats(name, w, size, size))
		m.Graph.AppendNode(onnx.NewNode("MatMul", "", "", []string{last, name}, []string{fmt.Sprintf("v%d", i+1)}))
	}
	m.Graph.AddOutput(onnx.NewValueInfo(fmt.Sprintf("v%d", count), onnx.Float, []onnx.Dim{{Value: 1}, {Value: size}}))
	path := filepath.Join(b.TempDir(), "large.onnx")
	if err := m.WriteFile(path); err != nil {
		b.Fatal(err)
	}
	bare := func(passes bool) func(string) error {
		return func(dir string) error {
			m, err := ov.Read(path)
			if err != nil {
				return err
			}
			defer m.Close()
			if passes {
				if _, err := m.Simplify(); err != nil {
					return err
				}
			}
			return m.Save(filepath.Join(dir, irFile), false)
		}
	}
	step := func(passes bool) func(string) error {
		return func(dir string) error {
			_, err := export(b.Context(), job{dir, 1, func(string) {}}, ExportConfig{Model: model(path), Simplify: passes})
			return err
		}
	}
	sides := []func(string) error{bare(false), step(false), bare(false), bare(true), step(true)}
	took := make([][]time.Duration, len(sides))
	for i := 0; b.Loop(); i++ {
		for k := range sides {
			k = (k + i) % len(sides)
			dir, err := os.MkdirTemp(b.TempDir(), "")
			if err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			if err := sides[k](dir); err != nil {
				b.Fatal(err)
			}
			took[k] = append(took[k], time.Since(began))
			os.RemoveAll(dir)
		}
	}
	for _, t := range took {
		slices.Sort(t)
	}
	middle := func(k int) float64 { return took[k][len(took[k])/2].Seconds() }
	b.ReportMetric(middle(1)/middle(0), "plain/bare")
	b.ReportMetric(middle(2)/middle(0), "again/bare")
	b.ReportMetric(middle(4)/middle(0), "step/bare")
	b.ReportMetric(middle(4)/middle(3), "step/passes")
	b.ReportMetric(1000*middle(0), "bare-ms")
	b.ReportMetric(1000*middle(3), "passes-ms")
}
