// Command optimize-plugin-strip is a whole plugin: a step that takes what is for people alone out of an ONNX model.
package main

import (
	"context"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

type config struct {
	Model sdk.Model `opt:"model,required" doc:"The model to strip." accepts:"onnx"`
}

func main() {
	sdk.Serve(&sdk.Plugin{Name: "strip", Version: "1.0.0", Licence: "MPL-2.0", Steps: []sdk.StepType{sdk.Step(sdk.StepSpec{
		Name: "strip", Revision: 1, Doc: "Take documentation out of a model.", Examples: []string{"step \"strip\" \"it\" {\n  model = model.big\n}\n"},
		Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: "onnx"}}}, strip)}})
}

func strip(_ context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
	m, err := onnx.ReadFile(c.Model.Path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	run.Log.Info("stripped", "texts", m.DropDebugInfo())
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Path: "model.onnx"}}}, m.WriteFile(run.Path("model.onnx"))
}
