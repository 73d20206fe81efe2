package dataset_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/optimize-hcl/optimize/dataset"
	"github.com/optimize-hcl/optimize/tensor"
)

// A table becomes shards that are mapped; columns become one vector, scaled on the way.
func ExampleMaterialise() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	source := filepath.Join(dir, "flowers.csv")
	if err := os.WriteFile(source, []byte("width_1,width_2,kind\n20,40,rose\n10,30,lily\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	out := filepath.Join(dir, "shards")
	if err := os.Mkdir(out, 0o700); err != nil {
		log.Fatal(err)
	}
	scale := 0.1
	info, err := dataset.Materialise(context.Background(), dataset.Spec{
		Source: source,
		Label:  "kind",
		Inputs: []dataset.Input{{Name: "x", Field: "width_*", Scale: &scale}},
	}, out, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Samples, "samples of", info.Classes)
	shards, err := tensor.OpenShards(out)
	if err != nil {
		log.Fatal(err)
	}
	defer shards.Close()
	x, err := shards.Field("x")
	if err != nil {
		log.Fatal(err)
	}
	v, err := tensor.View[float32](x)
	fmt.Println(v, err)
	// Output:
	// 2 samples of [lily rose]
	// [2 4 1 3] <nil>
}
