package plan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/core/cache"
)

// companion is how the name of a file goes on that holds the weights of the model whose name it begins with:
// model.onnx.data, model.onnx_data, model.onnx_data_1.
var companion = regexp.MustCompile(`^[._]data([._-]?[0-9]+)?$`)

// companions are the files beside a model that hold its weights, by name: of model.onnx as above, of model.xml model.bin.
func companions(source string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(source))
	if err != nil {
		return nil, nil // a folder may be entered and not listed; reading the model says what is wrong
	}
	var out []string
	stem, text := strings.CutSuffix(filepath.Base(source), ".xml")
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(source))
		if (ok && companion.MatchString(rest) || text && e.Name() == stem+".bin") && !e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// maxModelFiles bounds a folder that is given as a model: a mistyped path must not copy someone's home into the store.
const maxModelFiles = 1000

// folderFiles are the files of a model that is a folder, hidden ones excepted, in order.
func folderFiles(source string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != source && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		case len(out) == maxModelFiles:
			return fmt.Errorf("%s holds more than %d files: a model's folder holds the model and its weights", source, maxModelFiles)
		}
		rel, err := filepath.Rel(source, path)
		out = append(out, filepath.ToSlash(rel))
		return err
	})
	slices.Sort(out)
	return out, err
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// importModel copies a model into the store: a file, a file with its weights beside it, or a folder of both.
func (s *Session) importModel(ctx context.Context, source string) (cache.Artifact, error) {
	if isFolder(source) {
		files, err := folderFiles(source)
		if err == nil && len(files) == 0 {
			err = errors.New(source + " is an empty folder")
		}
		if err != nil {
			return cache.Artifact{}, err
		}
		return s.Store.ImportTree(ctx, source, files)
	}
	beside, err := companions(source)
	if err != nil || len(beside) == 0 {
		return s.Store.Import(ctx, source)
	}
	files := append(beside, filepath.Base(source))
	slices.Sort(files)
	return s.Store.ImportTree(ctx, filepath.Dir(source), files)
}
