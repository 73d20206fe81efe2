package ort

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/tensor"
)

const someProfile = `[
{"cat" : "Session","pid" :1,"tid" :1,"dur" :1200,"ts" :2,"ph" : "X","name" :"model_loading_uri","args" : {}},
{"cat" : "Session","pid" :1,"tid" :1,"dur" :800,"ts" :9,"ph" : "X","name" :"session_initialization","args" : {}},
{"cat" : "Node","dur" :107,"ts" :5466,"ph" : "X","name" :"c1_kernel_time","args" : {"node_index" : "35","output_type_shape" : [{"float":[2,16,28,28]}],"op_name" : "Conv","output_size" : "100352","thread_scheduling_stats" : {"main_thread": {"block_size": [1]}},"provider" : "CPUExecutionProvider","parameter_size" : "640","activation_size" : "6272","input_type_shape" : [{"float":[2,1,28,28]},{"float":[16]}]}},
{"cat" : "Node","dur" :3,"ts" :5600,"ph" : "X","name" :"c1_fence_after","args" : {"op_name" : "Conv"}},
{"cat" : "Session","dur" :120,"ts" :5460,"ph" : "X","name" :"model_run","args" : {}},
{"cat" : "Node","dur" :7,"ts" :6466,"ph" : "X","name" :"c1_kernel_time","args" : {"node_index" : "35","op_name" : "Conv","output_size" : "50176","provider" : "CPUExecutionProvider"}},
{"cat" : "Node","dur" :93,"ts" :6470,"ph" : "X","name" :"m_kernel_time","args" : {"node_index" : "36","op_name" : "MatMul","provider" : "CUDAExecutionProvider"}},
{"cat" : "Session","dur" :101,"ts" :6460,"ph" : "X","name" :"model_run","args" : {}}
]`

func TestReadProfile(t *testing.T) {
	p, err := ReadProfile(strings.NewReader(someProfile), 0)
	if err != nil {
		t.Fatal(err)
	}
	us := time.Microsecond
	if p.Load != 2000*us || p.Runs != 2 || p.Run != 221*us || len(p.Nodes) != 2 {
		t.Fatalf("%+v", p)
	}
	c := p.Nodes[0]
	if c.Name != "c1" || c.Index != 35 || c.Runs != 2 || c.Total != 114*us || c.Fastest != 7*us || c.Slowest != 107*us || c.OutputBytes != 50176 || c.ParameterBytes != -1 {
		t.Fatalf("%+v", c)
	}
	if got := p.ByOp(); len(got) != 2 || got[0].Op != "Conv" || got[0].Runs != 2 || got[1].Provider != "CUDAExecutionProvider" || math.Abs(got[1].Share-93.0/207) > 1e-12 {
		t.Fatalf("%+v", got)
	}
	if p, err = ReadProfile(strings.NewReader(someProfile), 1); err != nil || p.Runs != 1 || p.Nodes[0].Total != 7*us || p.Slowest(1)[0].Name != "m" {
		t.Fatalf("%+v %v", p, err)
	}
	for _, c := range []struct{ text, want string }{
		{"", "unexpected EOF"},
		{"{}", "a list of events"},
		{someProfile[:len(someProfile)/2], "unexpected EOF"},
		{someProfile[:len(someProfile)-1], "unexpected EOF"},
		{`[{"cat":"Node","dur":-1}]`, "lasts -1"},
		{`[{"cat":"Node","dur":9000000000000000000}]`, "lasts 9000000000000000000"},
		{`[{"cat":7}]`, "cat"},
	} {
		_, err := ReadProfile(strings.NewReader(c.text), 0)
		oneLine(t, err, c.want)
	}
}

func FuzzReadProfile(f *testing.F) {
	f.Add(someProfile)
	f.Add(`[{"cat":"Node","name":"_kernel_time","args":{"op_name":"A","node_index":"x","input_type_shape":[{"a":[null]},null]}}]`)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ReadProfile(strings.NewReader(s), 0)
		if err != nil {
			return
		}
		runs := 0
		for _, o := range p.ByOp() {
			runs += o.Runs
		}
		for _, n := range p.Nodes {
			runs -= n.Runs
		}
		if runs != 0 {
			t.Fatal("the sums by operator lose runs")
		}
	})
}

func TestProfileFile(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "p.json")
	in := map[string]tensor.Tensor{"input": floats([]int64{2, 1, 28, 28}, make([]float32, 2*784)...)}
	p, err := ProfileFile(digits(t), Options{Threads: 1, Optimize: true, ProfilePath: file}, in, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if p.Runs != 3 || p.Run <= 0 || p.Load <= 0 || len(p.Nodes) == 0 {
		t.Fatalf("%+v", p)
	}
	for _, n := range p.Nodes {
		if n.Runs != 3 || n.Provider != "CPUExecutionProvider" || n.Op == "" || n.OutputBytes <= 0 || len(n.Outputs) == 0 {
			t.Fatalf("%+v", n)
		}
	}
	last := p.Nodes[len(p.Nodes)-1]
	if !reflect.DeepEqual(last.Outputs, []ProfiledTensor{{"float", []int64{2, 10}}}) || last.OutputBytes != 80 {
		t.Fatalf("%+v", last)
	}
	// The file lies at its place, and nothing else beside it.
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "p.json" {
		t.Fatal(entries, err)
	}
	if _, err := ProfileFile(digits(t), Options{Threads: 1}, nil, 0, 1); err == nil {
		t.Fatal("a run without inputs was profiled")
	}
	_, err = ProfileFile(digits(t), Options{}, in, 0, 0)
	oneLine(t, err, "1 run or more")
	_, err = ProfileFile(digits(t), Options{ProfilePath: filepath.Join(dir, "none", "p.json")}, in, 0, 1)
	oneLine(t, err, "cannot be written")
	// A model that does not load leaves nothing.
	_, err = NewSession(build(13, []vi{{"x", 1, nil}}, []vi{{"y", 1, nil}}, node("Mystery", []string{"x"}, "y", nil)), Options{ProfilePath: file})
	oneLine(t, err, "Mystery")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
}
