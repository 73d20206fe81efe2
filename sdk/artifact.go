package sdk

import (
	"errors"
	"fmt"
	"maps"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
	"github.com/optimize-hcl/optimize/tensor"
)

// Artifact is a file or folder that a step reads or writes.
type Artifact struct {
	// Kind is "model", "dataset", ...
	Kind   string
	Format string
	// Path is absolute for inputs, empty while the artifact does not exist, and relative to Run.OutDir for outputs.
	Path string
	// Digest is a SHA-256 in lower-case hex; the host alone fills it in.
	Digest string
	// Size in bytes.
	Size   int64
	Labels map[string]string
}

// Exists tells whether there is something to read: while planning, the outputs of steps to come are not.
func (a Artifact) Exists() bool { return a.Path != "" }

// Model is a configuration field that takes a model.
type Model struct{ Artifact }

// Dataset is a configuration field that takes a dataset.
type Dataset struct{ Artifact }

// Open maps the dataset's shards into memory; the caller closes them.
func (d Dataset) Open() (*tensor.Shards, error) {
	if !d.Exists() {
		return nil, errors.New("the dataset does not exist yet: it can be read while the step is applied, not while it is planned")
	}
	s, err := tensor.OpenShards(d.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the dataset: %w", err)
	}
	return s, nil
}

func artifactOf(a *pluginv1.Artifact) Artifact {
	return Artifact{Kind: a.GetKind(), Format: a.GetFormat(), Path: a.GetPath(), Digest: a.GetDigest(), Size: a.GetSize(), Labels: maps.Clone(a.GetLabels())}
}

func (a Artifact) wire() *pluginv1.Artifact {
	return &pluginv1.Artifact{Kind: a.Kind, Format: a.Format, Path: a.Path, Digest: a.Digest, Size: a.Size, Labels: a.Labels}
}
