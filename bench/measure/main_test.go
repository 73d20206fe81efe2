package main

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The test binary plays the measured commands, so that the tests need no shell.
func TestMain(m *testing.M) {
	switch os.Getenv("MEASURE_PLAY") {
	case "":
		os.Exit(m.Run())
	case "fail":
		os.Stderr.WriteString("the model is empty\n")
		os.Exit(3)
	case "hold":
		held := make([]byte, 64<<20)
		for i := range held {
			held[i] = 1
		}
		time.Sleep(100 * time.Millisecond)
		runtime.KeepAlive(held)
	case "mark":
		if err := os.WriteFile(filepath.Join(os.Args[1], "mark"), nil, 0o600); err != nil {
			os.Exit(1)
		}
	}
	os.Exit(0)
}

func TestParseCommands(t *testing.T) {
	tests := []struct {
		name  string
		words string
		want  []command
		err   string
	}{
		{"one", ":: a true", []command{{name: "a", argv: []string{"true"}}}, ""},
		{"environment", ":: a X=1 Y={dir}/c ./run --k=v", []command{{name: "a", env: []string{"X=1", "Y={dir}/c"}, argv: []string{"./run", "--k=v"}}}, ""},
		{"two", ":: a x y :: b z", []command{{name: "a", argv: []string{"x", "y"}}, {name: "b", argv: []string{"z"}}}, ""},
		{"none", "", nil, "no command given"},
		{"no mark", "a true", nil, `"::" must introduce`},
		{"name only", ":: a", nil, "a: no command"},
		{"empty", ":: a true ::", nil, "followed by no command"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseCommands(strings.Fields(test.words))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	for _, test := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{nil, 0.5, 0},
		{[]float64{4}, 0.9, 4},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{1, 2}, 0.5, 1.5},
		{[]float64{0, 10}, 0.9, 9},
		{[]float64{5, 1}, 1, 5},
	} {
		if got := quantile(test.values, test.q); got != test.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", test.values, test.q, got, test.want)
		}
	}
}

func TestReport(t *testing.T) {
	all := []summary{
		{name: "ours", wall: 200, p10: 190, p90: 230, peak: 50, samples: 30},
		{name: "peer", wall: 400, p10: 390, p90: 430, peak: 100, samples: 60},
	}
	var out strings.Builder
	missed := report(&out, all, "peer", limitFlag{"ours": 300 * time.Millisecond}, true, 0)
	if len(missed) > 0 {
		t.Errorf("missed %q", missed)
	}
	for _, want := range []string{"ours    200.0  190.0  230.0   0.00  0.500     50.0  0.500", "300"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}

	missed = report(&out, all, "ours", limitFlag{"ours": 100 * time.Millisecond}, true, 0)
	want := []string{
		"ours takes 200.0 ms; the limit is 100 ms",
		"peer is slower than ours: 400.0 ms, 200.0 ms",
		"peer takes more memory than ours: 100.0 MB, 50.0 MB",
	}
	if !reflect.DeepEqual(missed, want) {
		t.Errorf("missed %q, want %q", missed, want)
	}
}

func TestMeasure(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want []string // in the output
		err  string
	}{
		{"compares", []string{"-runs", "2", "-warmup", "0", "-against", "b", "::", "a", "MEASURE_PLAY=pass", self, "::", "b", "MEASURE_PLAY=pass", self}, []string{"ratio", "1.000"}, ""},
		{"fresh folder", []string{"-runs", "2", "-warmup", "1", "::", "a", "MEASURE_PLAY=mark", self, "{dir}"}, []string{"wall ms"}, ""},
		{"a failure tells", []string{"-runs", "1", "::", "a", "MEASURE_PLAY=fail", self}, nil, "the model is empty"},
		{"no such program", []string{"::", "a", "./no-such-program"}, nil, "no-such-program"},
		{"limit", []string{"-runs", "1", "-warmup", "0", "-limit", "a=1ns", "::", "a", "MEASURE_PLAY=pass", self}, []string{"limit ms"}, "the limit is"},
		{"unknown peer", []string{"-against", "z", "::", "a", "true"}, nil, "no command has this name"},
		{"unknown limit", []string{"-limit", "z=1ms", "::", "a", "true"}, nil, "no command has this name"},
		{"twice the name", []string{"::", "a", "true", "::", "a", "true"}, nil, "two commands"},
		{"no runs", []string{"-runs", "0", "::", "a", "true"}, nil, "at least one run"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			err := measure(t.Context(), test.args, &out)
			switch {
			case test.err == "" && err != nil:
				t.Fatal(err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Fatalf("error %v, want %q", err, test.err)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
		})
	}
}

func TestPeakMemory(t *testing.T) {
	if !canSample {
		t.Skip("peak memory is sampled on Linux only")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, err := execute(t.Context(), command{name: "hold", env: []string{"MEASURE_PLAY=hold"}, argv: []string{self}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if r.samples == 0 || r.peak < 64<<20 || r.peak > 128<<20 {
		t.Errorf("peak %d bytes in %d samples of a process that holds 64 MiB", r.peak, r.samples)
	}
}
