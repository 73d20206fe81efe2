package mil

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The files of a package.
const (
	manifestFile = "Manifest.json"
	dataFolder   = "Data/com.apple.CoreML"
	specFile     = "model.mlmodel"
	weightFile   = "weights/weight.bin"
)

// Written tells what a package holds, in bytes.
type Written struct {
	// Size is the package's, Spec the program's and Weights that of the file of weights.
	Size, Spec, Weights int64
	ByType              map[DataType]int64 // of constants in the file of weights
	Ops                 map[string]int64   // operations by type, constants left out
}

// WritePackage writes the model as a .mlpackage: a folder, which must not exist. What is written is checked with Lint
// first. Where anything fails no folder is left.
func WritePackage(dir string, m *Model) (w *Written, err error) {
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("%s is there already: %w", dir, os.ErrExist)
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), ".mlpackage-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(part))
		}
	}()
	root := filepath.Join(part, filepath.FromSlash(dataFolder))
	if err := os.MkdirAll(filepath.Join(root, "weights"), 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(root, filepath.FromSlash(weightFile))
	f, weights, err := createWeights(path)
	if err != nil {
		return nil, err
	}
	err = m.settle(weights)
	err = errors.Join(err, f.Close())
	if err != nil {
		return nil, err
	}
	blobs, unmap, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	spec := m.Marshal()
	found := check(spec, blobs)
	ids := [2]string{uuid("model.mlmodel", spec), uuid("weights", weights.Digest())}
	if err := errors.Join(found, unmap()); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(root, specFile), spec, 0o644); err != nil {
		return nil, err
	}
	list := manifest(ids)
	if err := os.WriteFile(filepath.Join(part, manifestFile), list, 0o644); err != nil {
		return nil, err
	}
	if err := os.Chmod(part, 0o755); err != nil { //nolint:gosec // an artifact is read by others, as the files in it are
		return nil, err
	}
	if err := os.Rename(part, dir); err != nil {
		return nil, err
	}
	w = &Written{Size: int64(len(spec)+len(list)) + weights.Size(), Spec: int64(len(spec)), Weights: weights.Size(), ByType: weights.Bytes, Ops: map[string]int64{}}
	for _, op := range m.Main.Ops {
		if op.Type != "const" {
			w.Ops[op.Type]++
		}
	}
	return w, nil
}

// check reads a specification back and lints it: what is checked is what was written.
func check(spec, blobs []byte) error {
	m, odd, err := Unmarshal(spec)
	if err != nil {
		return err
	}
	return errors.Join(append(odd, Lint(m, blobs)...)...)
}

// settle writes the weights in the order of the operations.
func (m *Model) settle(w *Weights) error {
	ops := make([]*Operation, 0, len(m.Main.Ops))
	for _, op := range m.Main.Ops {
		if op.Weight != nil {
			before, err := op.Weight.Settle(op, w)
			if err != nil {
				return fmt.Errorf("write the constant %s: %w", op.Outputs[0].Name, err)
			}
			op.Weight = nil
			ops = append(ops, before...)
		}
		ops = append(ops, op)
	}
	m.Main.Ops = ops
	return w.Close()
}

// manifest is Manifest.json: which file is the model, and which folder has its weights.
func manifest(ids [2]string) []byte {
	item := func(name, path, doc string) map[string]string {
		return map[string]string{"author": "com.apple.CoreML", "description": doc, "name": name, "path": path}
	}
	b, err := json.MarshalIndent(map[string]any{
		"fileFormatVersion":   "1.0.0",
		"rootModelIdentifier": ids[0],
		"itemInfoEntries": map[string]any{
			ids[0]: item("model.mlmodel", "com.apple.CoreML/model.mlmodel", "CoreML Model Specification"),
			ids[1]: item("weights", "com.apple.CoreML/weights", "CoreML Model Weights"),
		}}, "", "    ")
	if err != nil {
		panic(err) // maps of text only
	}
	return append(b, '\n')
}

// uuid is one of version 8: of the content, so that the same model has the same.
func uuid(name string, content []byte) string {
	h := sha256.New()
	_, _ = io.WriteString(h, "optimize/coreml/"+name+"\x00")
	_, _ = h.Write(content)
	b := h.Sum(nil)[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
