package cli

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/install"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// versionInfo is what version --json prints.
type versionInfo struct {
	Schema  string `json:"schema"`
	Version string `json:"version"`
	// Commit is of the source, empty when the program was not built from a checkout; Modified tells that the checkout had
	// changes.
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Protocol is the version of the plugin protocol.
	Protocol int              `json:"protocol"`
	Plugins  []versionPlugin  `json:"plugins"`
	Runtimes []versionRuntime `json:"runtimes"`
}

type versionPlugin struct {
	Name string `json:"name"`
	// Version is empty of one that is not bundled: it is not run to ask it.
	Version string `json:"version,omitempty"`
	// Source is bundled or found.
	Source string `json:"source"`
	Path   string `json:"path,omitempty"`
}

type versionRuntime struct {
	Name string `json:"name"`
	// Version is the one that optimize init brings.
	Version string `json:"version"`
	// Source is variable when the user names a library, installed, or missing.
	Source string `json:"source"`
	Path   string `json:"path,omitempty"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Print the version of Optimize. With --json also what belongs to it: the commit, the
plugin protocol, the plugins and the native libraries that are found here. No plugin
is started.`,
		Example: "  optimize version\n  optimize version --json",
		Args:    between(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return writeJSON(a.stdout, a.versionInfo())
			}
			_, err := fmt.Fprintf(a.stdout, "optimize %s (%s)\n", a.Version, platform())
			return err
		},
	}
}

func (a *app) versionInfo() versionInfo {
	v := versionInfo{
		Schema: "optimize.version/v1", Version: a.Version, Go: runtime.Version(), Platform: platform(), Protocol: pluginv1.ProtocolVersion,
		Plugins: []versionPlugin{}, Runtimes: []versionRuntime{},
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Bundled)) {
		v.Plugins = append(v.Plugins, versionPlugin{Name: name, Version: a.Version, Source: "bundled"})
	}
	for _, f := range install.ListPlugins(install.PluginDirs(os.Getenv)) {
		if a.Bundled[f.Name] == nil {
			v.Plugins = append(v.Plugins, versionPlugin{Name: f.Name, Source: "found", Path: f.Path})
		}
	}
	data, err := install.DataDir(os.Getenv)
	for _, r := range install.Runtimes {
		x := versionRuntime{Name: r.Name, Version: r.Version, Source: "missing"}
		if own := os.Getenv(r.Variable); own != "" {
			x.Source, x.Path = "variable", own
		} else if err == nil {
			if res, ok := install.Installed(data, r.Name); ok {
				x.Source, x.Path = "installed", res.Library
			}
		}
		v.Runtimes = append(v.Runtimes, x)
	}
	return v
}
