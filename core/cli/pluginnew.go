package cli

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
)

//go:embed newplugin/*.tmpl
var newPlugin embed.FS

// newPluginFiles are the files of a new plugin's project and the templates that they are made of.
var newPluginFiles = []struct{ path, template string }{
	{"go.mod", "go.mod.tmpl"}, {"main.go", "main.go.tmpl"}, {"main_test.go", "main_test.go.tmpl"}, {"README.md", "README.md.tmpl"},
	{".gitignore", "gitignore.tmpl"}, {filepath.Join("example", "recipe.hcl"), "example.hcl.tmpl"},
}

var newPluginName = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)

// newPluginResult is what plugin new --json prints.
type newPluginResult struct {
	Schema string   `json:"schema"`
	Dir    string   `json:"dir"`
	Files  []string `json:"files"`
}

func (a *app) pluginNewCommand() *cobra.Command {
	var dir, module, sdk string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a plugin project that works",
		Long: `Write a Go project of a plugin that works: a step in one function, its test against the
contract, and a recipe that uses it. NAME is of lower-case letters and digits. Files
that are there are never written over.`,
		Example: "  optimize plugin new acme\n  optimize plugin new acme --dir plugins/acme --module example.com/optimize-plugin-acme",
		Args:    between(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if !newPluginName.MatchString(name) {
				return usagef("%q is no plugin name: write lower-case letters and digits, a letter first", name)
			}
			if dir == "" {
				dir = "optimize-plugin-" + name
			}
			if module == "" {
				module = "example.com/optimize-plugin-" + name
			}
			if sdk != "" {
				var err error
				if sdk, err = filepath.Abs(sdk); err != nil {
					return err
				}
			}
			values := map[string]string{"Name": name, "Module": module, "Version": a.Version, "SDK": sdk, "Go": goVersion()}
			files, err := writeNewPlugin(dir, values)
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.stdout).Encode(newPluginResult{"optimize.plugin.new/v1", dir, files})
			}
			_, err = fmt.Fprintf(a.stdout, "Wrote %s: %s.\nNext:\n\n  cd %s\n  go mod tidy && go build -o bin/optimize-plugin-%s .\n  optimize plugin check bin/optimize-plugin-%s\n",
				dir, strings.Join(files, ", "), dir, name, name)
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the project's folder (default optimize-plugin-NAME)")
	c.Flags().StringVar(&module, "module", "", "the Go module's path (default example.com/optimize-plugin-NAME)")
	c.Flags().StringVar(&sdk, "sdk", "", "a folder with the source of Optimize, to build against instead of a release")
	return c
}

// goVersion is the language version that this program was built with: 1.26.
func goVersion() string {
	parts := strings.Split(strings.TrimPrefix(runtime.Version(), "go"), ".")
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// writeNewPlugin writes the project, or nothing at all when a file of it is there.
func writeNewPlugin(dir string, values map[string]string) ([]string, error) {
	t, err := template.ParseFS(newPlugin, "newplugin/*.tmpl")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range newPluginFiles {
		path := filepath.Join(dir, f.path)
		if _, err := os.Lstat(path); err == nil {
			return nil, diag.Errorf("plugin/exists", path+" is there already", "Nothing was written. Choose another folder: --dir.")
		}
		names = append(names, filepath.ToSlash(f.path))
	}
	for _, f := range newPluginFiles {
		path := filepath.Join(dir, f.path)
		var b strings.Builder
		if err := t.ExecuteTemplate(&b, f.template, values); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, diag.Errorf("plugin/write", "The project cannot be written", "%s. Choose another folder: --dir.", err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			return nil, diag.Errorf("plugin/write", "The project cannot be written", "%s. Choose another folder: --dir.", err)
		}
	}
	return names, nil
}
