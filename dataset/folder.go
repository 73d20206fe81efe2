package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFiles bounds a folder: its names stay in memory while it is read.
const maxFiles = 1 << 24

// openFiles makes a table of a folder of images, sounds or texts: the field "image",
// "sound" or "text", and where its folders are classes, the field "label". Folders and
// files come in the order of their names; those that begin with a point are passed over.
func openFiles(path string, entries []os.DirEntry) (*table, error) {
	t := &table{dir: path}
	var files []string
	var labels []int32
	loose, odd := 0, ""
	add := func(name string, class int) {
		files, labels = append(files, name), append(labels, int32(class))
	}
	kinds := map[kind]string{} // an example of each
	look := func(name string) bool {
		k, ok := fileKind(name)
		if !ok {
			odd = name
			return false
		}
		if _, seen := kinds[k]; !seen {
			kinds[k] = name
		}
		return true
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		if !isDir(path, e) {
			if look(name) {
				loose++
				add(name, -1)
			}
			continue
		}
		class, before := len(t.classes), len(files)
		err := filepath.WalkDir(filepath.Join(path, name), func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if strings.HasPrefix(d.Name(), ".") {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if !d.IsDir() && look(d.Name()) {
				rel, err := filepath.Rel(path, file)
				if err != nil {
					return err
				}
				add(rel, class)
			}
			if len(files) > maxFiles {
				return fmt.Errorf("there are more than %d files", maxFiles)
			}
			return nil
		})
		if err != nil {
			return nil, sourceError("The source cannot be read", err.Error(), err)
		}
		if len(files) > before {
			t.classes = append(t.classes, name)
		}
	}
	switch {
	case len(files) == 0:
		detail := fmt.Sprintf("The folder %s has %d entries, but neither arrays (.npy, IDX) nor images (.png, .jpg, .jpeg, .webp), sounds (.wav) or texts (.txt).", path, len(entries))
		if odd != "" {
			detail += fmt.Sprintf(" It has %q.", clip(odd))
		}
		return nil, sourceError("The source holds no samples", detail, nil)
	case len(kinds) > 1:
		var examples []string
		for k, name := range kinds {
			examples = append(examples, fmt.Sprintf("%s (%s)", clip(name), kindNames[k]))
		}
		slices.Sort(examples)
		return nil, sourceError("The folder mixes kinds of files", fmt.Sprintf("%s has %s. Keep each kind in a folder of its own, or list the files in a table.", path, strings.Join(examples, " and ")), nil)
	case loose > 0 && loose < len(files):
		return nil, sourceError("The folder has samples beside its classes", fmt.Sprintf("In %s, %d files lie in folders, which are their classes, and %d beside these. Move those into a folder too.", path, len(files)-loose, loose), nil)
	}
	for k := range kinds {
		t.fields = append(t.fields, &tableField{name: map[kind]string{kindImage: "image", kindSound: "sound", kindFile: "text"}[k], kind: k})
	}
	if loose == 0 {
		t.fields = append(t.fields, &tableField{name: "label", kind: kindInt})
	}
	t.count = int64(len(files))
	t.rows = func(ctx context.Context, yield func(r row) error) error {
		for i, name := range files {
			if i&1023 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			cells := []string{name}
			if loose == 0 {
				cells = append(cells, fmt.Sprint(labels[i]))
			}
			if err := yield(row{index: int64(i), file: filepath.Join(path, name), cells: cells}); err != nil {
				return err
			}
		}
		return nil
	}
	return t, nil
}

// isDir follows a link, since data folders are often links.
func isDir(path string, e os.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	st, err := os.Stat(filepath.Join(path, e.Name()))
	return err == nil && st.IsDir()
}

func fileKind(name string) (kind, bool) {
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case imageFiles[ext]:
		return kindImage, true
	case soundFiles[ext]:
		return kindSound, true
	case ext == ".txt":
		return kindFile, true
	}
	return 0, false
}

// Files lists every file that Materialise reads for a source, tokenizers aside, in an
// order that depends on the files only: a digest over their names and contents is one
// of the source. A file that is missing is listed too.
func Files(ctx context.Context, source string) ([]string, error) {
	st, err := os.Stat(source)
	if err != nil || st.Mode().IsRegular() && !mayName(ctx, source) {
		return []string{source}, nil // what is wrong with it, opening it says
	}
	src, err := openSource(source, "")
	if err != nil {
		return nil, err
	}
	defer func() { _ = src.close() }() // it was only read
	if src.table == nil {
		entries, err := os.ReadDir(source)
		if err != nil {
			return nil, sourceError("The source cannot be read", err.Error(), err)
		}
		var out []string
		for _, e := range entries {
			if !e.IsDir() && isArrayName(e.Name()) {
				out = append(out, filepath.Join(source, e.Name()))
			}
		}
		return out, nil
	}
	var out []string
	if st.Mode().IsRegular() {
		out = append(out, source)
	}
	t := src.table
	var which []int
	for i, f := range t.fields {
		if f.kind == kindImage || f.kind == kindSound || f.kind == kindFile {
			which = append(which, i)
		}
	}
	if len(which) == 0 {
		return out, nil
	}
	seen := map[string]bool{}
	cells := make([]string, len(t.fields))
	err = t.rows(ctx, func(r row) error {
		if t.cut != nil {
			if err := t.cut(r.raw, cells); err != nil {
				return rowError(r, err)
			}
			r.cells = cells
		}
		for _, i := range which {
			if path := t.resolve(r.cells[i]); !seen[path] {
				seen[path] = true
				out = append(out, path)
			}
		}
		return nil
	})
	return out, err
}

// mayName tells whether a file may name others: a table may, whose first sample does.
// Only that one is read, since every plan asks.
func mayName(ctx context.Context, path string) bool {
	head, err := peek(path)
	if err != nil || tableOf(path, head) == nil {
		return false
	}
	names := false
	look := func(s string) { _, ok := fileKind(s); names = names || ok }
	if !isCSV(path) {
		err = jsonRows(ctx, path, func(r row) error {
			err := jsonMembers(r.raw, func(_, v []byte) error {
				if s, err := jsonCell(v); err == nil {
					look(s)
				}
				return nil
			})
			return errors.Join(err, errStop)
		})
	} else {
		comma, _, bad := csvHeader(path)
		if bad != nil {
			return false
		}
		err = csvRows(ctx, path, comma, true, func(r row) error {
			for _, s := range r.cells {
				look(s)
			}
			return errStop
		})
	}
	// What else is wrong with it, opening it says.
	return names && errors.Is(err, errStop)
}

// resolve is the path of a file that a cell names.
func (t *table) resolve(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(t.dir, filepath.FromSlash(name))
}
