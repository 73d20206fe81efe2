package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFindPlugin(t *testing.T) {
	a, b, data := t.TempDir(), t.TempDir(), t.TempDir()
	put := func(dir, name string, mode os.FileMode) string {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	put(a, "optimize-plugin-one", 0o644) // no executable
	one := put(b, "optimize-plugin-one", 0o755)
	two := put(filepath.Join(data, "plugins"), "optimize-plugin-two", 0o755)
	put(b, "optimize-plugin-two", 0o755)
	if err := os.Mkdir(filepath.Join(b, "optimize-plugin-folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	dirs := PluginDirs(func(k string) string {
		return map[string]string{"OPTIMIZE_PLUGINS": a, "OPTIMIZE_DATA": data, "PATH": strings.Join([]string{".", b, "", a}, string(os.PathListSeparator))}[k]
	})
	if want := []string{a, filepath.Join(data, "plugins"), b}; !slices.Equal(dirs, want) {
		t.Errorf("folders %v, want %v", dirs, want)
	}
	for name, want := range map[string]string{"one": one, "two": two, "folder": "", "three": ""} {
		if got, ok := FindPlugin(dirs, name); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", name, got, ok, want)
		}
	}
}
