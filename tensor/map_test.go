package tensor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMap(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"some": "weights", "empty": ""} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		b, unmap, err := Map(path)
		if err != nil || string(b) != content {
			t.Fatalf("%s: %q, %v", name, b, err)
		}
		if err := unmap(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := Map(dir); err == nil {
		t.Error("a folder can be mapped")
	}
	if _, _, err := Map(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing file can be mapped")
	}
}
