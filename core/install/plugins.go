package install

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// PluginPrefix begins the file name of every third-party plugin: optimize-plugin-NAME.
const PluginPrefix = "optimize-plugin-"

// PluginDirs are the folders that third-party plugins are looked for in, in this order: those of OPTIMIZE_PLUGINS, the
// folder plugins of the data folder, then PATH. Relative folders and folders that are named twice are left out: what is
// run must not depend on where the command is started.
func PluginDirs(getenv func(string) string) []string {
	dirs := filepath.SplitList(getenv("OPTIMIZE_PLUGINS"))
	if data, err := DataDir(getenv); err == nil {
		dirs = append(dirs, filepath.Join(data, "plugins"))
	}
	var out []string
	for _, d := range append(dirs, filepath.SplitList(getenv("PATH"))...) {
		if filepath.IsAbs(d) && !slices.Contains(out, filepath.Clean(d)) {
			out = append(out, filepath.Clean(d))
		}
	}
	return out
}

// FindPlugin gives the executable of a third-party plugin in the first of the folders that has it.
func FindPlugin(dirs []string, name string) (path string, ok bool) {
	file := PluginPrefix + name
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	for _, d := range dirs {
		path := filepath.Join(d, file)
		st, err := os.Stat(path)
		if err == nil && st.Mode().IsRegular() && (runtime.GOOS == "windows" || st.Mode()&0o111 != 0) {
			return path, true
		}
	}
	return "", false
}

// FoundPlugin is the executable of a third-party plugin.
type FoundPlugin struct{ Name, Path string }

// ListPlugins gives the third-party plugins in the folders, by name; of two with the same name the first is found.
// Nothing is run.
func ListPlugins(dirs []string) []FoundPlugin {
	var out []FoundPlugin
	seen := map[string]bool{}
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			continue // a folder of PATH that is not there holds no plugin
		}
		for _, e := range entries {
			name, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".exe"), PluginPrefix)
			if !ok || name == "" || seen[name] {
				continue
			}
			if path, ok := FindPlugin([]string{d}, name); ok {
				seen[name] = true
				out = append(out, FoundPlugin{name, path})
			}
		}
	}
	slices.SortFunc(out, func(a, b FoundPlugin) int { return strings.Compare(a.Name, b.Name) })
	return out
}
