package main

import "github.com/optimize-hcl/optimize/sdk/pluginv1"

// describeFaults spoil the description.
var describeFaults = map[string]func(d *pluginv1.DescribeResponse){
	"describe/name":          func(d *pluginv1.DescribeResponse) { d.Name = "Faulty Plugin" },
	"describe/version":       func(d *pluginv1.DescribeResponse) { d.Version = "v1" },
	"describe/licence":       func(d *pluginv1.DescribeResponse) { d.Licence = "do what you want, friend" },
	"describe/requires-core": func(d *pluginv1.DescribeResponse) { d.RequiresCore = "newest" },
	"describe/size":          func(d *pluginv1.DescribeResponse) { d.Steps[0].Markdown = string(make([]byte, 2<<20)) },
	"describe/purpose":       func(d *pluginv1.DescribeResponse) { d.Steps, d.Formats, d.Targets = nil, nil, nil },
	"describe/step-name":     func(d *pluginv1.DescribeResponse) { d.Steps[0].Name = "other_copy" },
	"describe/unique":        func(d *pluginv1.DescribeResponse) { d.Formats = append(d.Formats, d.Formats[0]) },
	"describe/revision":      func(d *pluginv1.DescribeResponse) { d.Steps[0].Revision = 0 },
	"describe/outputs":       func(d *pluginv1.DescribeResponse) { d.Steps[0].Outputs[0].Name = "result" },
	"describe/attribute-name": func(d *pluginv1.DescribeResponse) {
		d.Steps[0].Schema.Attributes[1].Name = "Mode!"
	},
	"describe/reserved": func(d *pluginv1.DescribeResponse) { d.Steps[0].Schema.Attributes[1].Name = "timeout" },
	"describe/types":    func(d *pluginv1.DescribeResponse) { d.Steps[0].Schema.Attributes[1].Type = []byte(`"text"`) },
	"describe/defaults": func(d *pluginv1.DescribeResponse) { d.Steps[0].Schema.Attributes[1].Default = []byte(`{}`) },
	"describe/choices":  func(d *pluginv1.DescribeResponse) { d.Steps[0].Schema.Attributes[1].Default = []byte(`"other"`) },
	"describe/required": func(d *pluginv1.DescribeResponse) { d.Steps[0].Schema.Attributes[1].Required = true },
	"describe/secrets": func(d *pluginv1.DescribeResponse) {
		d.Steps[0].Schema.Attributes[2].Default = []byte(`"hunter2"`)
	},
	"describe/documented":      func(d *pluginv1.DescribeResponse) { d.Steps[0].Schema.Attributes[1].Markdown = " " },
	"describe/step-documented": func(d *pluginv1.DescribeResponse) { d.Steps[0].Markdown = "" },
	"describe/example": func(d *pluginv1.DescribeResponse) {
		d.Steps[0].Examples = []string{"step \"faulty_copy\" \"a\" {\n  model = model.a\n  speed = 3\n}\n"}
	},
	"describe/result": func(d *pluginv1.DescribeResponse) { d.Steps[0].ResultType = []byte(`"string"`) },
	"describe/blocks": func(d *pluginv1.DescribeResponse) { d.Steps[0].Schema.Blocks[0].Min = 9 },
	"describe/extensions": func(d *pluginv1.DescribeResponse) {
		d.Formats[0].Extensions = []string{"onnx"}
	},
	"describe/capabilities": func(d *pluginv1.DescribeResponse) { d.Capabilities = nil },
	"describe/targets":      func(d *pluginv1.DescribeResponse) { d.Targets[0].Formats = nil },
	"describe/json":         func(d *pluginv1.DescribeResponse) { d.Steps[0].Schema.Attributes[1].Default = []byte(`"fast" x`) },
}
