package mil

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// maxSpec bounds the specification and the manifest that are read: a protobuf message holds no more.
const maxSpec = 1<<31 - 1

// Package is what a .mlpackage holds.
type Package struct {
	Model *Model
	// Spec is the program's size in bytes, Size that of the whole package.
	Spec, Size int64
	// blobs are the bytes of the file of weights.
	blobs []byte
	odd   []error
	close func() error
}

// Close ends the mapping of the weights.
func (p *Package) Close() error { return p.close() }

// Lint finds what Core ML would refuse of the package: see the function Lint, and what a package holds beside the model.
func (p *Package) Lint() []error { return append(slices.Clone(p.odd), Lint(p.Model, p.blobs)...) }

// item is an entry of the manifest.
type item struct {
	Path        string `json:"path"`
	Name        string `json:"name"`
	Author      string `json:"author"`
	Description string `json:"description"`
}

type manifestJSON struct {
	Version string          `json:"fileFormatVersion"`
	Root    string          `json:"rootModelIdentifier"`
	Items   map[string]item `json:"itemInfoEntries"`
}

// ReadPackage reads a package; the caller closes it. The folder must not change meanwhile.
func ReadPackage(dir string) (_ *Package, err error) {
	p := &Package{close: func() error { return nil }}
	text, err := p.file(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, err
	}
	var list manifestJSON
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", manifestFile, err)
	}
	root, ok := list.Items[list.Root]
	if !ok {
		return nil, fmt.Errorf("%s does not say which item is the model", manifestFile)
	}
	p.manifest(list)
	if !filepath.IsLocal(filepath.FromSlash(root.Path)) {
		return nil, fmt.Errorf("%s: the model lies outside of the package, at %q", manifestFile, root.Path)
	}
	spec, err := p.file(filepath.Join(dir, "Data", filepath.FromSlash(root.Path)))
	if err != nil {
		return nil, err
	}
	p.Spec = int64(len(spec))
	m, odd, err := Unmarshal(spec)
	if err != nil {
		return nil, err
	}
	p.Model, p.odd = m, append(p.odd, odd...)
	weights := filepath.Join(dir, "Data", filepath.FromSlash(path.Dir(root.Path)), filepath.FromSlash(weightFile))
	switch st, err := os.Stat(weights); {
	case errors.Is(err, os.ErrNotExist):
		p.odd = append(p.odd, errors.New("there is no "+weightFile))
	case err != nil:
		return nil, err
	case st.Size() > 0:
		p.Size += st.Size()
		p.blobs, p.close, err = mapFile(weights)
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// file reads a small file of the package.
func (p *Package) file(name string) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxSpec {
		return nil, fmt.Errorf("%s is no file of a package", name)
	}
	p.Size += st.Size()
	return os.ReadFile(name)
}

// manifest notes what is wrong with the list of items.
func (p *Package) manifest(m manifestJSON) {
	odd := func(format string, args ...any) {
		p.odd = append(p.odd, fmt.Errorf(manifestFile+": "+format, args...))
	}
	if m.Version != "1.0.0" {
		odd("fileFormatVersion is %q", m.Version)
	}
	weights := false
	for id, it := range m.Items {
		if it.Author == "" || it.Description == "" || it.Name == "" || it.Path == "" {
			odd("the item %s has no author, description, name or path", id)
		}
		weights = weights || strings.HasSuffix(it.Path, "/weights")
	}
	if !weights {
		odd("there is no item for the weights")
	}
}
