package evaluate

import (
	"context"
	"testing"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// still is an engine that is never run.
type still struct{}

func (still) Name() string    { return "still" }
func (still) Version() string { return "1" }
func (still) Digest() string  { return "d" }
func (still) Probe(context.Context, *pluginv1.ProbeRequest) (*pluginv1.ProbeResponse, error) {
	return &pluginv1.ProbeResponse{}, nil
}
func (still) Runtime(context.Context) (pluginv1.RuntimeClient, error) { return nil, nil }

// A step that says of a dataset of its own that it is the test set must not leave figures that an evaluate block takes.
func TestFiguresOfStepsAreApart(t *testing.T) {
	sum := func(asked string) string {
		g := &grader{spec: Spec{Dataset: Dataset{Digest: "data"}, AskedBy: asked, Subjects: []Subject{{Artifact: cache.Artifact{Digest: "model"}, Engine: still{}}}}}
		if err := g.probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		return g.qualityKey(0).Sum()
	}
	if sum("") == sum("vendor") || sum("vendor") == sum("other") || sum("vendor") != sum("vendor") {
		t.Error("the keys do not tell who asked")
	}
}
