package openvino

import (
	"os"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk/plugintest"
)

const served = "OPTIMIZE_TEST_SERVE_OPENVINO"

// TestMain is the plugin's process where the suite of the protocol starts this program as one.
func TestMain(m *testing.M) {
	if os.Getenv(served) != "" {
		Serve("0.1.0")
		return
	}
	os.Exit(m.Run())
}

// The plugin keeps the contract, with the real library: what any plugin's author checks with `optimize plugin check`.
func TestConformance(t *testing.T) {
	needLibrary(t)
	library, err := load()
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel() // it waits most of its time
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The suite's own model, which its dataset fits.
	dir, _ := exported(t, ExportConfig{Model: model("../../sdk/plugintest/fixtures/model.onnx"), Simplify: true})
	// What is left out is the SDK's work, which its own tests see; each waits for seconds.
	var only []string
	for _, r := range plugintest.Rules() {
		if r.ID != "life/host-gone" && r.ID != "life/host-gone-busy" && r.ID != "life/alone" {
			only = append(only, r.ID)
		}
	}
	r, err := plugintest.Check(t.Context(), plugintest.Options{Command: []string{self}, Only: only,
		// The suite gives each process a home of its own, where no library lies.
		Env:       []string{served + "=1", ov.EnvLibrary + "=" + library.Dir},
		Artifacts: map[string]string{formatIR: dir}, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Results {
		switch x.Status {
		case plugintest.Fail:
			t.Errorf("%s: %s: %s", x.ID, x.Rule, x.Detail)
		case plugintest.Skip:
			t.Logf("%s is skipped: %s", x.ID, x.Detail)
		}
	}
	if r.Count(plugintest.Pass) < 20 {
		t.Errorf("%d checks have passed, of %d", r.Count(plugintest.Pass), len(r.Results))
	}
}
