package onnx

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// LargestFile is how many bytes a model of one file may have: protobuf holds no larger message.
const LargestFile = math.MaxInt32

const (
	// artifactFile is the name that WriteArtifact gives the file of a model, and artifactFolder that of the folder of
	// one that takes two files.
	artifactFile   = "model.onnx"
	artifactFolder = "model"
	// smallestOutside is the size in bytes from which on a weight of a model in two files goes to the second one: shapes
	// and scales stay with the graph, where every engine looks for them.
	smallestOutside = 4096
)

// WriteArtifact writes the model into a folder as a step hands it over, and returns its name there and the bytes that
// were written: one file, or, where the model has more than largest bytes (LargestFile, but for tests), a folder of the
// graph and its weights, which ModelFile finds the graph in. On an error nothing of it is left.
func (m *Model) WriteArtifact(dir string, largest int64) (name string, size int64, err error) {
	if size := m.Size(); size <= largest {
		return artifactFile, size, m.WriteFile(filepath.Join(dir, artifactFile))
	}
	folder := filepath.Join(dir, artifactFolder)
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", 0, fmt.Errorf("write model: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(folder)
		}
	}()
	if err := m.WriteFileExternal(filepath.Join(folder, artifactFile), smallestOutside); err != nil {
		return "", 0, err
	}
	err = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return artifactFolder, size, err
}
