package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/install"
)

// initResult is what init --json prints.
type initResult struct {
	Schema   string           `json:"schema"`
	Plugins  []initPlugin     `json:"plugins"`
	Runtimes []install.Result `json:"runtimes"`
	// Own are the libraries that the user names instead, by variable.
	Own []ownRuntime `json:"own"`
	// Lock is the lock's path, empty without a recipe; LockChanged tells whether this call wrote it.
	Lock        string `json:"lock,omitempty"`
	LockChanged bool   `json:"lock_changed"`
}

type initPlugin struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256,omitempty"`
}

type ownRuntime struct {
	Name     string `json:"name"`
	Variable string `json:"variable"`
	Path     string `json:"path"`
}

func (a *app) initCommand() *cobra.Command {
	var f recipeFlags
	var from string
	var upgrade bool
	c := &cobra.Command{
		Use:   "init [RECIPE]",
		Short: "Bring the native libraries that a recipe needs, and lock versions",
		Long: `Bring the native libraries that the plugins of a recipe load, by name, pinned version
and hash, through your own pip or uv: its mirrors, proxies and certificates are used.
Without a network: --from takes a folder with the wheels or the unpacked library.
A library that you name by OPTIMIZE_ONNXRUNTIME or OPTIMIZE_OPENVINO is used as it
is. Without a RECIPE, and without a recipe.hcl in this folder, all libraries that
Optimize knows for this machine are brought.

The versions and hashes of plugins and libraries go into optimize.lock.hcl beside the
recipe. From then on plan and apply refuse others, until init --upgrade accepts them.`,
		Example:           "  optimize init recipe.hcl\n  optimize init --from /media/wheels recipe.hcl\n  optimize init --upgrade recipe.hcl",
		Args:              between(0, 1),
		ValidArgsFunction: completeRecipe,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.looks = true // at the recipe; what it brings does not go into the store
			ctx := cmd.Context()
			if from != "" {
				if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
					return diag.Errorf("init/from", "There is no "+from, "It does not exist. --from names a folder with the wheels, or one of them.")
				}
			}
			if _, err := install.DataDir(os.Getenv); err != nil {
				return err
			}
			out := initResult{Schema: "optimize.init/v1", Plugins: []initPlugin{}, Runtimes: []install.Result{}, Own: []ownRuntime{}}
			if path, err := recipePath(args); err == nil {
				lock, err := a.initRecipe(ctx, path, &f, upgrade, &out)
				if err != nil {
					return err
				}
				if err := a.bring(ctx, lock.Runtimes, from, &out); err != nil {
					return err
				}
				// The lock is written last: it says what is here.
				dir := filepath.Dir(out.Lock)
				if out.LockChanged, err = install.WriteLock(dir, lock); err != nil {
					return diag.Errorf("init/lock", upperFirst(err.Error()), "Make %s writable, or copy the recipe to a folder of yours. The libraries were brought.", dir)
				}
			} else {
				var all []install.Locked
				for _, r := range install.Runtimes {
					if install.Supports(r.Name, platform()) || os.Getenv(r.Variable) != "" {
						all = append(all, install.Locked{Name: r.Name})
					}
				}
				if err := a.bring(ctx, all, from, &out); err != nil {
					return err
				}
			}
			if a.json {
				return writeJSON(a.stdout, out)
			}
			switch {
			case out.LockChanged:
				fmt.Fprintf(a.stdout, "Versions are locked in %s: keep it in version control.\n", shown(out.Lock))
			case out.Lock != "":
				fmt.Fprintf(a.stdout, "%s is as it was.\n", shown(out.Lock))
			}
			return nil
		},
	}
	f.register(c)
	c.Flags().StringVar(&from, "from", "", "take the packages from this folder instead of pip or uv")
	c.Flags().BoolVar(&upgrade, "upgrade", false, "accept plugins and libraries of other versions than the lock's")
	return c
}

// shown is a path as it is shortest from here.
func shown(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// initRecipe checks the recipe against its lock and gives the lock to write.
func (a *app) initRecipe(ctx context.Context, path string, f *recipeFlags, upgrade bool, out *initResult) (*install.Lock, error) {
	w, err := a.open(ctx, path, f, false)
	if err != nil {
		return nil, err
	}
	defer w.close(ctx)
	now, err := w.chosen(ctx)
	if err != nil {
		return nil, err
	}
	out.Lock = filepath.Join(w.recipe.Dir, install.LockName)
	old, _, ds := install.ReadLock(w.recipe.Dir)
	if !upgrade {
		if ds.HasErrors() {
			_, file, _ := install.ReadLock(w.recipe.Dir)
			w.recipe.Files[out.Lock] = file
			a.printDiags(ds, w.recipe.Files)
			return nil, errPrinted
		}
		ds, err := w.checkLock(ctx)
		if err != nil {
			return nil, err
		}
		// What is not in the lock yet is what init is for.
		var wrong diag.Diags
		for _, d := range ds {
			if d.Code != lockLacks {
				wrong = wrong.Append(d)
			}
		}
		if wrong.HasErrors() {
			a.printDiags(wrong, w.recipe.Files)
			return nil, errPrinted
		}
	}
	for _, p := range now.Plugins {
		out.Plugins = append(out.Plugins, initPlugin{p.Name, p.Version, p.Digests[platform()]})
		if !a.json && len(p.Digests) > 0 {
			ref, _ := w.registry.Ref(p.Name)
			fmt.Fprintf(a.stdout, "Plugin %s %s: %s\n", p.Name, p.Version, ref.Command[0])
		}
	}
	st, err := os.Stat(path)
	return merged(old, now, err == nil && !st.IsDir()), nil
}

// bring installs runtimes that are not there, but for those that the user names.
func (a *app) bring(ctx context.Context, runtimes []install.Locked, from string, out *initResult) error {
	dir, err := install.DataDir(os.Getenv)
	if err != nil {
		return err
	}
	for _, e := range runtimes {
		variable := runtimeVariable(e.Name)
		if own := os.Getenv(variable); own != "" {
			if err := install.CheckOwn(own); err != nil {
				return diag.Errorf("init/own", variable+" does not lead to a library", "%s: %s. Set it to the library, or unset it: optimize init brings one then.", own, err)
			}
			out.Own = append(out.Own, ownRuntime{e.Name, variable, own})
			if !a.json {
				fmt.Fprintf(a.stdout, "%s names %s: it is used as it is, nothing is installed.\n", variable, own)
			}
			continue
		}
		res, err := install.Install(ctx, install.Options{DataDir: dir, Name: e.Name, From: from, Progress: func(s string) {
			if !a.json {
				fmt.Fprintln(a.stdout, s)
			}
		}})
		if err != nil {
			return err
		}
		out.Runtimes = append(out.Runtimes, res)
		if a.json {
			continue
		}
		state := "is there already"
		if res.Fresh {
			state = "installed"
		}
		title := e.Name
		for _, r := range install.Runtimes {
			if r.Name == e.Name {
				title = r.Title
			}
		}
		fmt.Fprintf(a.stdout, "%s %s %s: %s\n", title, res.Version, state, res.Library)
	}
	if len(runtimes) == 0 && !a.json {
		fmt.Fprintln(a.stdout, "The recipe needs no native library.")
	}
	return nil
}
