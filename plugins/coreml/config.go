package coreml

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/sdk"
)

const plainExample = `step "coreml" "app" {
  model = model.classifier
}`

const cameraExample = `step "coreml" "camera" {
  model                     = step.int8.model
  minimum_deployment_target = "iOS16"
  keep_float                = ["/head/*"]
  shapes                    = { image = [1, 3, "224..640", "224..640"] }
  names                     = { logits = "breed" }
  classes                   = ["beagle", "boxer", "collie"]

  input "image" {
    color = "RGB"
    scale = [0.0171, 0.0175, 0.0174]
    bias  = [-2.1179, -2.0357, -1.8044]
  }

  metadata {
    summary = "Tells breeds of dogs apart."
    author  = "Kennel"
    license = "MIT"
    version = "1.2"
  }
}`

const detectorExample = `step "coreml" "detector" {
  model   = model.yolo
  shapes  = { images = [1, 3, 640, 640] }
  classes = ["face", "hand"]

  input "images" {
    color = "RGB"
    scale = [0.00392156862745098]
  }

  detection {
    boxes = "output0"
    size  = [640, 640]
  }
}`

func convertStep() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     pluginName,
		Revision: 1,
		Doc: "Converts a model to a Core ML package: an ML Program, as Xcode and Apple's runtime take it, written in pure Go on any system. " +
			"Floats are computed in half precision unless the recipe says otherwise. Weights that are quantized, clustered or pruned stay small: each is " +
			"stored in the least of the forms that the deployment target has. Everything that cannot be converted is told at once, before any work. " +
			"`optimize docs coreml-operators` has the operators that are covered; what was verified of the packages was verified with coremltools and by numeric emulation, not on a Mac.",
		Examples: []string{plainExample, cameraExample, detectorExample},
		Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: formatPackage,
			Doc: "The package: a folder whose name ends in .mlpackage. Publish it under such a name."}},
		ResultExample: Facts{},
	}, applyConvert)
}

// Config is the configuration of the step coreml.
type Config struct {
	Model       sdk.Model              `opt:"model,required" accepts:"onnx" doc:"Model to convert."`
	Target      string                 `opt:"minimum_deployment_target" default:"iOS17" oneof:"iOS15,iOS16,iOS17,iOS18,macOS12,macOS13,macOS14,macOS15" doc:"The oldest system that is to load the model. A newer one has more operators and more forms of small weights: what is quantized to 4 bits or in blocks stays so from iOS18 on, quantized activations from iOS17 on."`
	Precision   string                 `opt:"precision" default:"float16" oneof:"float16,float32" doc:"What floats are computed and stored in. The Neural Engine takes float16 alone."`
	KeepFloat   []string               `opt:"keep_float" default:"[]" doc:"Names of nodes, or operators, that compute in float32 although the precision is float16; * stands for any characters and ? for one."`
	Shapes      map[string][]string    `opt:"shapes" default:"{}" doc:"Shapes of inputs, by name: { image = [1, 3, 224, 224] }. An axis is a number, a range such as \"1..8\", or \"1..\" for one without end. An open first axis, which counts samples, is 1 where nothing is said; other open axes must be said. Axes that the model calls by one name need to be said once."`
	Enumerated  map[string][][]int64   `opt:"enumerated_shapes" default:"{}" doc:"The shapes that an input may have, by name, in place of ranges: { image = [[1, 3, 224, 224], [1, 3, 320, 320]] }. The first is the usual one. Before iOS18 one input alone."`
	InputValues map[string]float64     `opt:"input_values" doc:"Numbers that inputs always are, by input: { sr = 16000 }. The model becomes one for that value alone, and the input goes."`
	States      map[string]string      `opt:"states" doc:"Recurrent states, from iOS18 on: each input with the output that is its value in the next run. The app gives and takes them no more: Core ML keeps them, in float16."`
	Names       map[string]string      `opt:"names" default:"{}" doc:"Names of inputs and outputs in the package, by their names in the model. Others keep their names, with _ for what Core ML does not allow in one."`
	Classes     []string               `opt:"classes" default:"[]" doc:"Labels of the classes, in order. The model becomes a classifier: in place of the output of probabilities it gives classLabel, the likeliest class, and classLabel_probs, the probability of each."`
	Chances     string                 `opt:"classes_output" doc:"The output that holds the probabilities of the classes; the only one of floats when left out."`
	Inputs      map[string]InputConfig `opt:"input,block" doc:"What an input is to the app."`
	Detection   *DetectionConfig       `opt:"detection,block" doc:"Makes a model that gives all its boxes a detector, as Apple's Vision takes it: a pipeline with Core ML's own non-maximum suppression, whose two thresholds the app may change."`
	Metadata    *MetadataConfig        `opt:"metadata,block" doc:"What people read about the model in Xcode."`
}

// InputConfig says what an input is to an app.
type InputConfig struct {
	Color   string    `opt:"color" oneof:"RGB,BGR,grayscale" doc:"Makes the input a picture, whose pixels the app's CVPixelBuffer or CGImage brings. The order of colours is the one that the model was trained on."`
	Scale   []float64 `opt:"scale" doc:"What a pixel, 0 to 255, is multiplied with: one number, or one for each channel. For pixels divided by 255: 0.00392156862745098."`
	Bias    []float64 `opt:"bias" doc:"What is added afterwards: one number, or one for each channel. For a mean and a deviation, scale is 1 / (255 * deviation) and bias is -mean / deviation."`
	Layout  string    `opt:"layout" default:"NCHW" oneof:"NCHW,NHWC" doc:"Layout of the model's own input. A picture is turned over for NHWC."`
	Summary string    `opt:"summary" doc:"What people read about the input in Xcode."`
}

// DetectionConfig says what a model's boxes are.
type DetectionConfig struct {
	Boxes    string  `opt:"boxes,required" doc:"Output of the boxes: [1, boxes, 4], or [1, 4, boxes]. It may hold the scores as well, behind the boxes: [1, 4 + classes, boxes], as YOLO's does."`
	Scores   string  `opt:"scores" doc:"Output of the score of each class for each box: [1, boxes, classes], or [1, classes, boxes]. The output of the boxes holds them when left out."`
	Format   string  `opt:"format" default:"center" oneof:"center,corners" doc:"What the four numbers of a box are: the x and y of its middle, width and height, or left, top, right and bottom."`
	Size     []int64 `opt:"size" doc:"Width and height that boxes are in, in pixels: [640, 640]. They are shares of the picture when left out."`
	IoU      float64 `opt:"iou_threshold" default:"0.45" doc:"Overlap, as a share of the area that two boxes cover, from which on the less confident one goes."`
	Least    float64 `opt:"confidence_threshold" default:"0.25" doc:"Confidence that a box needs."`
	PerClass bool    `opt:"per_class" default:"true" doc:"Whether a box suppresses those of its own class alone."`
}

// MetadataConfig is what people read about a model.
type MetadataConfig struct {
	Summary string            `opt:"summary" doc:"What the model does."`
	Author  string            `opt:"author" doc:"Who made it."`
	License string            `opt:"license" doc:"Its licence."`
	Version string            `opt:"version" doc:"Its version."`
	User    map[string]string `opt:"user" default:"{}" doc:"More, by keys of your own."`
}

// Facts are what the step tells about its work: step.NAME.result.
type Facts struct {
	Size          int64             `opt:"size" doc:"Bytes of the package."`
	SizeFloat16   int64             `opt:"size_float16" doc:"Bytes that it would have with all weights in float16, which is what one ships otherwise."`
	Program       int64             `opt:"program" doc:"Bytes of the program, without the weights."`
	Specification int64             `opt:"specification" doc:"Version of Core ML's specification: 6 for iOS15 to 9 for iOS18."`
	Nodes         int64             `opt:"nodes" doc:"Nodes of the model that were lowered, after it was simplified."`
	KeptFloat     int64             `opt:"kept_float" doc:"Those of them that compute in float32 although the precision is float16: by keep_float, or since they make sums that leave the range of half precision."`
	Operations    map[string]int64  `opt:"operations" doc:"Operations of the program, constants left out."`
	Forms         map[string]int64  `opt:"forms" doc:"Weights by the form that they are stored in: const for floats, else the operation that makes floats of them."`
	FormBytes     map[string]int64  `opt:"form_bytes" doc:"Bytes of the weights in each form."`
	Inputs        map[string]string `opt:"inputs" doc:"Type and shape of each input, such as fp32 [1 3 224 224]."`
	Outputs       map[string]string `opt:"outputs" doc:"Type and shape of each output."`
	Renamed       map[string]string `opt:"renamed" doc:"Names that inputs and outputs have in the package, where those of the model are not legal."`
}

// Validate checks what the schema cannot.
func (c Config) Validate(context.Context) sdk.Diagnostics {
	ds := append(checkShapes(c.Shapes), checkEnumerated(c)...)
	bad := func(summary, detail string, path ...any) {
		ds = append(ds, sdk.Diagnostic{Path: path, Summary: summary, Detail: detail})
	}
	for i, p := range c.KeepFloat {
		if p == "" {
			bad("an empty pattern keeps nothing in float32", "Write a node's name or an operator, or a part of one with *, such as \"stem/*\".", "keep_float", sdk.Index(i))
		}
	}
	if len(c.States) > 0 && opsetOf(c.Target) < 8 {
		bad("states came with iOS18 and macOS15", fmt.Sprintf("The target is %s. Raise minimum_deployment_target, or leave states out: the app carries them from run to run then.", c.Target), "states")
	}
	seen := map[string]string{}
	for _, from := range slices.Sorted(maps.Keys(c.Names)) {
		to := c.Names[from]
		switch other := seen[to]; {
		case !legal(to):
			bad(fmt.Sprintf("%q is no name that Core ML allows", to), "Write letters, digits and _, no digit first.", "names", sdk.Key(from))
		case other != "":
			bad(fmt.Sprintf("%q and %q cannot both be called %q", other, from, to), "Give each a name of its own.", "names", sdk.Key(from))
		}
		seen[to] = from
	}
	labels := map[string]bool{}
	for i, l := range c.Classes {
		if labels[l] || l == "" {
			bad(fmt.Sprintf("the label %q is empty or there twice", l), "Each class has a label of its own.", "classes", sdk.Index(i))
		}
		labels[l] = true
	}
	if c.Chances != "" && len(c.Classes) == 0 {
		bad("classes_output without classes", "Write the labels of the classes, or leave it out.", "classes_output")
	}
	if d := c.Detection; d != nil {
		switch {
		case len(c.Classes) == 0:
			bad("a detector without classes", "Write the labels in the argument classes, in order.", "detection")
		case len(c.States) > 0:
			bad("a detector has no states", "Leave states or the block detection out.", "states")
		case c.Chances != "":
			bad("classes_output is of classifiers", "A detector's scores are named in its block.", "classes_output")
		}
		if len(d.Size) != 0 && (len(d.Size) != 2 || slices.Min(d.Size) < 1) {
			bad("size is a width and a height", "Write two numbers of pixels: size = [640, 640].", "detection", "size")
		}
		for argument, v := range map[string]float64{"iou_threshold": d.IoU, "confidence_threshold": d.Least} {
			if !(v >= 0 && v <= 1) {
				bad(fmt.Sprintf("%s is %g", argument, v), "It is a share, from 0 to 1.", "detection", argument)
			}
		}
	}
	return append(ds, checkInputs(c.Inputs)...)
}

// checkInputs tells what is wrong with the blocks by themselves.
func checkInputs(inputs map[string]InputConfig) (ds sdk.Diagnostics) {
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		in := inputs[name]
		bad := func(argument, summary, detail string) {
			ds = append(ds, sdk.Diagnostic{Path: []any{"input", sdk.Key(name), argument}, Summary: summary, Detail: detail})
		}
		channels := 3
		if in.Color == "grayscale" {
			channels = 1
		}
		for argument, v := range map[string][]float64{"scale": in.Scale, "bias": in.Bias} {
			switch {
			case len(v) == 0:
			case in.Color == "":
				bad(argument, argument+" is of pictures", "Write color = \"RGB\" as well, or prepare the input in the app.")
			case len(v) != 1 && len(v) != channels:
				bad(argument, fmt.Sprintf("%s has %d numbers for %d channels", argument, len(v), channels), "Write one, or one for each channel.")
			}
		}
		if slices.Contains(in.Scale, 0) {
			bad("scale", "a scale is 0", "Each pixel is multiplied with it.")
		}
	}
	slices.SortFunc(ds, func(a, b sdk.Diagnostic) int { return strings.Compare(fmt.Sprint(a.Path), fmt.Sprint(b.Path)) })
	return ds
}

// opsetOf is the operator set that came with a system: 5 for iOS15 and macOS12.
func opsetOf(target string) int {
	return map[string]int{"iOS15": 5, "macOS12": 5, "iOS16": 6, "macOS13": 6, "iOS17": 7, "macOS14": 7, "iOS18": 8, "macOS15": 8}[target]
}

// patterns match names, with * and ?. used remembers which were of use.
type patterns struct {
	texts []string
	used  []bool
}

// match tells whether a pattern matches one of the names.
func (p *patterns) match(names ...string) bool {
	found := false
	for i, t := range p.texts {
		if slices.ContainsFunc(names, func(n string) bool { return sdk.MatchName(t, n) }) {
			p.used[i], found = true, true
		}
	}
	return found
}
