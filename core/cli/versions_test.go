package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProtocolVersions has a plugin of the next protocol meet this core, and a core of the next one this plugin: both
// binaries are built from the SDK with its version raised. The user is told which side is older and what to do.
func TestProtocolVersions(t *testing.T) {
	p := newPlace(t)
	overlay := nextProtocol(t)
	build := func(to, what string) {
		t.Helper()
		out, err := exec.Command("go", "build", "-overlay", overlay, "-o", to, what).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	dir := filepath.Join(p.dir, "next")
	build(filepath.Join(dir, "optimize-plugin-demo"), "./testdata/demoplugin")
	build(filepath.Join(dir, "optimize"), "../..")
	recipe := "recipe {\n  required_plugins {\n    demo = { version = \"~> 1.2\" }\n  }\n}\n"
	if err := os.WriteFile(filepath.Join(p.dir, "recipe.hcl"), []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	env := p.env
	for _, c := range []struct {
		name, binary, plugins string
		want                  []string
	}{
		{"a newer plugin", binary, dir, []string{"plugin demo", "speaks plugin protocol 2", "optimize 0.1.0 speaks 1", "use a newer optimize"}},
		{"a newer core", filepath.Join(dir, "optimize"), plugins, []string{"plugin demo", "speaks plugin protocol 1", "optimize 0.1.0 speaks 2", "install a newer version of the plugin"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(c.binary, "validate", "recipe.hcl")
			cmd.Dir, cmd.Env = p.dir, append(env, "OPTIMIZE_PLUGINS="+c.plugins)
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != 1 {
				t.Fatalf("%v\n%s", err, out)
			}
			text := strings.Join(strings.Fields(string(out)), " ")
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("no %q in\n%s", w, out)
				}
			}
		})
	}
}

// nextProtocol writes an overlay for `go build` under which the protocol has the version 2.
func nextProtocol(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../sdk/pluginv1/handshake.go")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(b, []byte("ProtocolVersion = 1"), []byte("ProtocolVersion = 2"), 1)
	if bytes.Equal(b, changed) {
		t.Fatal("the version is not where it was")
	}
	dir := t.TempDir()
	next := filepath.Join(dir, "handshake.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: next}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{next: changed, filepath.Join(dir, "overlay.json"): overlay} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "overlay.json")
}
