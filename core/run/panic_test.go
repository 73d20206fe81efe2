package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/core/recipe"
)

func TestPanicOfAnAction(t *testing.T) {
	r := &Runner{logs: logs{dir: t.TempDir()}}
	err := func() (err error) {
		defer r.recovered(&recipe.Node{Addr: "step.a"}, &err)
		panic("out of luck")
	}()
	if err == nil || !strings.Contains(err.Error(), "step.a") {
		t.Fatalf("the panic gives %v", err)
	}
	r.logs.close()
	b, err := os.ReadFile(filepath.Join(r.logs.dir, "step.a.log"))
	if err != nil || !strings.Contains(string(b), "panic: out of luck") || !strings.Contains(string(b), "TestPanicOfAnAction") {
		t.Errorf("the log says %q, %v", b, err)
	}
	if len(r.diags) != 1 || r.diags[0].Code != "run/panic" {
		t.Errorf("diagnostics: %v", r.diags)
	}
}
