//go:build unix

package host

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"

	"github.com/optimize-hcl/optimize/core/telemetry"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// demo is a real third-party plugin.
func demo(b *testing.B) Ref {
	b.Helper()
	path := filepath.Join(b.TempDir(), "optimize-plugin-demo")
	if out, err := exec.Command("go", "build", "-o", path, "../cli/testdata/demoplugin").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return Ref{Name: "demo", Command: []string{path}}
}

// BenchmarkStart is a plugin's start with mutual TLS until its first answer.
func BenchmarkStart(b *testing.B) {
	ref := demo(b)
	for b.Loop() {
		m := NewManager(Options{})
		if _, err := m.Describe(b.Context(), ref); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		m.Close(b.Context())
		b.StartTimer()
	}
}

// BenchmarkNoop is one step that does nothing, in a process that runs, with and without telemetry.
func BenchmarkNoop(b *testing.B) {
	for name, traced := range map[string]bool{"plain": false, "traced": true} {
		b.Run(name, func(b *testing.B) {
			o := Options{RunDir: b.TempDir()}
			if traced {
				t, err := telemetry.Start(b.Context(), telemetry.Options{TraceFile: filepath.Join(b.TempDir(), "trace.jsonl")})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = t.Shutdown(b.Context()) }()
				o.Telemetry = t
			}
			m := NewManager(o)
			defer m.Close(b.Context())
			p, err := m.Plugin(b.Context(), demo(b))
			if err != nil {
				b.Fatal(err)
			}
			ty := cty.Object(map[string]cty.Type{"text": cty.String})
			config, err := ctymsgpack.Marshal(cty.ObjectVal(map[string]cty.Value{"text": cty.StringVal("x")}), ty)
			if err != nil {
				b.Fatal(err)
			}
			out, scratch := b.TempDir(), b.TempDir()
			i := 0
			for b.Loop() {
				i++
				_, ds, err := p.Apply(b.Context(), &pluginv1.ApplyRequest{RunId: strconv.Itoa(i), StepType: "demo_noop", Config: &pluginv1.Value{Msgpack: config},
					OutDir: out, ScratchDir: scratch, Threads: 1}, nil, nil)
				if err != nil || len(ds) > 0 {
					b.Fatal(err, ds)
				}
			}
		})
	}
}
