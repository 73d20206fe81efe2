package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
)

// runsVariable names a folder for the records of runs, for recipes in a folder that may not be written.
const runsVariable = "OPTIMIZE_RUNS"

// runsDir is the folder of the runs of a recipe in recipeDir: what the environment says, else one beside the recipe.
func runsDir(recipeDir string) (string, error) {
	if dir := os.Getenv(runsVariable); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", diag.Errorf("run/folder", fmt.Sprintf("%s=%q is not a folder", runsVariable, dir), "%s", err)
		}
		return abs, nil
	}
	return filepath.Join(recipeDir, ".optimize", "runs"), nil
}

// runFolderError says why a run's folder cannot be made in base, and what to set.
func runFolderError(base string, err error) error {
	reason := err.Error()
	var pe *fs.PathError
	if errors.As(err, &pe) {
		reason = pe.Err.Error()
	}
	if os.Getenv(runsVariable) != "" {
		return diag.Errorf("run/folder", "The folder of this run cannot be made", "%s comes from %s: %s. Set it to a folder that this user may write.", base, runsVariable, reason)
	}
	return diag.Errorf("run/folder", "The folder of this run cannot be made",
		"The record, trace and logs of a run go to %s: %s. Set %s to a folder that this user may write.", base, reason, runsVariable)
}

// recordError says that a run is over and its record lost, and what to set.
func recordError(dir string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return diag.Errorf("run/record", "The record of this run cannot be written",
		"%s: %s. Free some space there, or set %s to another folder. What was computed is in the cache: the next apply does not compute it again.", dir, err, runsVariable)
}

// openStore opens the user's store. For a command that only looks (validate, inspect) a store that cannot be written,
// as in a container without a home, is no reason to fail: it gets one of its own, which ends with the command.
func (w *work) openStore() error {
	dir, err := cache.DefaultDir(os.Getenv)
	if err == nil {
		w.store, err = cache.Open(dir)
	} else {
		err = errNoHome{err}
	}
	if err == nil || !w.app.looks || !unwritable(err) {
		return err
	}
	tmp, terr := os.MkdirTemp("", "optimize-store-")
	if terr != nil {
		return err
	}
	w.scratch = tmp
	w.store, err = cache.Open(tmp)
	return err
}

// errNoHome is the lack of a place for the store.
type errNoHome struct{ error }

func unwritable(err error) bool {
	var none errNoHome
	return errors.As(err, &none) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR)
}
