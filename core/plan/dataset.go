package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/dataset"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// datasetRevision is raised when package dataset would write other bytes for the same source and arguments.
const datasetRevision = 2

// datasetInputs are the digests of all that a dataset is read from: the source, the files that it names, tokenizers.
func (s *Session) datasetInputs(ctx context.Context, n *recipe.Node, c *recipe.DatasetConfig) (map[string]string, diag.Diags) {
	bad := func(err error) diag.Diags {
		return diag.Diags{diag.At(c.SourceRange, "recipe/dataset-source", "The dataset cannot be read", "%s", err)}
	}
	files, err := dataset.Files(ctx, c.Source)
	if err != nil {
		return nil, bad(err)
	}
	inputs := map[string]string{}
	if len(files) == 1 && files[0] == c.Source {
		inputs["source"], _, err = s.Store.HashFile(c.Source)
	} else {
		inputs["source"], err = s.hashFiles(ctx, c.Source, files)
	}
	if err != nil {
		return nil, bad(err)
	}
	for _, list := range []struct {
		kind string
		of   []dataset.Input
	}{{"input", c.Inputs}, {"target", c.Targets}} {
		for _, in := range list.of {
			if in.Tokenizer == "" {
				continue
			}
			digest, _, err := s.Store.HashFile(in.Tokenizer)
			if err != nil {
				rng := diag.FromPath(n.Body, []*pluginv1.PathStep{
					{Step: &pluginv1.PathStep_Attribute{Attribute: list.kind}}, {Step: &pluginv1.PathStep_Key{Key: in.Name}},
					{Step: &pluginv1.PathStep_Attribute{Attribute: "tokenizer"}},
				})
				return nil, diag.Diags{diag.At(rng, "recipe/dataset-tokenizer", "The tokenizer cannot be read", "%s", err)}
			}
			inputs[list.kind+"."+in.Name+".tokenizer"] = digest
		}
	}
	return inputs, nil
}

// hashFiles makes one digest of the names and contents of files, relative to the source.
func (s *Session) hashFiles(ctx context.Context, source string, files []string) (string, error) {
	digests := make([]string, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range files {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			digests[i], _, err = s.Store.HashFile(f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	h := sha256.New()
	for i, f := range files {
		if rel, err := filepath.Rel(source, f); err == nil {
			f = rel
		}
		fmt.Fprintf(h, "%q %s\n", filepath.ToSlash(f), digests[i])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// datasetArguments are the arguments of a dataset that its bytes depend on, under the recipe's names. Of a tokenizer the
// content counts, which is among the inputs.
func datasetArguments(c *recipe.DatasetConfig) map[string]any {
	out := map[string]any{
		"label": c.Label, "limit": c.Limit, "shuffle": c.Shuffle, "seed": c.Seed,
		"split": c.Split, "test_fraction": c.TestFraction, "input": inputArguments(c.Inputs),
	}
	if len(c.Targets) > 0 { // so that datasets without any keep their keys
		out["target"] = inputArguments(c.Targets)
	}
	return out
}

func inputArguments(inputs []dataset.Input) map[string]any {
	out := map[string]any{}
	for _, in := range inputs {
		arguments := map[string]any{
			"field": in.Field, "scale": in.Scale, "mean": in.Mean, "std": in.Std, "dtype": in.DType, "shape": in.Shape, "layout": in.Layout,
			"color": in.Color, "resize": in.Resize, "crop": in.Crop, "resample": in.Resample, "orient": in.Orient,
			"tokenizer": in.Tokenizer != "", "tokens": in.Tokens, "length": in.Length, "rate": in.Rate,
		}
		if in.Value != nil { // so that inputs without one keep their keys
			arguments["value"] = in.Value
		}
		out[in.Name] = arguments
	}
	return out
}
