package lower_test

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// cases are models of one node, or of a few: at least one for each rule, and one for each mode that is lowered otherwise.
func cases() []opCase {
	return slices.Concat(reductionCases(), comparisonCases(), indexCases(), padCases(), resizeCases(), spaceCases(),
		layerNormCases(), fusionCases(), einsumCases(), recurrentCases(), elementCases(), layerCases(), moveCases(),
		attentionCases(), controlCases(), quantizationCases())
}

func reductionCases() []opCase {
	var out []opCase
	for _, op := range []string{"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceLogSum"} {
		in := x(2, 3, 4)
		if op == "ReduceLogSum" {
			in = between(0.5, 3, 2, 3, 4)
		}
		out = append(out, node(op, 18, in, ints(1)).with(ai("keepdims", 0)), node(op+" all", 18, in), node(op+" 11", 11, in).with(ais("axes", -1, 0), ai("keepdims", 1)),
			node(op+" none", 18, in, none).with(ai("noop_with_empty_axes", 1)))
	}
	return append(out,
		node("ReduceSum integers", 13, numbers32(-9, 9, 3, 4), ints(0)),
		node("ReduceMax scalar", 18, given(floats([]int64{}, 1.5))),
		node("ArgMax", 13, x(3, 5)).with(ai("axis", 1), ai("keepdims", 0)),
		node("ArgMax last", 13, given(floats([]int64{2, 4}, 1, 2, 2, 0, 3, 1, 3, 2))).with(ai("axis", 1), ai("select_last_index", 1)),
		node("ArgMin", 13, x(3, 5)).with(ai("axis", 0)),
		node("CumSum", 14, x(3, 4), scalarInt(1)),
		node("CumSum exclusive", 14, x(3, 4), scalarInt(-2)).with(ai("exclusive", 1)),
		node("CumSum reverse", 14, x(3, 4), scalarInt(1)).with(ai("reverse", 1), ai("exclusive", 1)),
		node("CumSum integers", 14, numbers32(-5, 5, 3, 4), scalarInt(0)).with(ai("reverse", 1)),
	)
}

func comparisonCases() []opCase {
	var out []opCase
	for _, op := range []string{"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"} {
		out = append(out, node(op, 16, x(2, 3), other(3)), node(op+" integers", 16, numbers32(-2, 3, 2, 5), numbers32(-2, 3, 5)))
	}
	for _, op := range []string{"And", "Or", "Xor"} {
		out = append(out, node(op, 7, truths(2, 3), truths(3)))
	}
	huge := given(floats([]int64{5}, 1, float32(inf), 3, float32(-inf), 0))
	return append(out,
		node("Equal bools", 13, truths(2, 3), truths(3)),
		node("Not", 13, truths(2, 3)),
		node("IsNaN", 13, given(floats([]int64{3}, 1, float32(nan), 3))),
		node("IsInf", 10, huge), node("IsInf above", 10, huge).with(ai("detect_negative", 0)),
		node("IsInf below", 10, huge).with(ai("detect_positive", 0)),
		node("Where", 16, truths(2, 3), x(2, 3), other(2, 3)),
		node("Where stretched", 16, truths(3, 1), x(2, 1, 4), scalar(-7)),
		node("Where integers", 16, truths(2, 3), numbers32(0, 9, 2, 3), intsOf32(2, 3)),
	)
}

func indexCases() []opCase {
	return []opCase{
		node("Gather", 13, x(5, 3), indices(0, 5, 2, 2)), node("Gather negative", 13, x(5, 3), indices(-5, 5, 4)).with(ai("axis", -2)),
		node("Gather constant", 13, x(2, 5, 3), ints(4, -5, 0)).with(ai("axis", 1)),
		node("Gather scalar", 13, x(2, 5, 3), scalarInt(-1)).with(ai("axis", 1)),
		node("Gather computed scalar", 13, x(4, 3), given(intsOf([]int64{}, 2))),
		node("Gather bools", 13, truths(4, 3), indices(0, 4, 2)),
		node("Gather table", 13, w(16, 4), indices(0, 16, 2, 3)),
		node("GatherElements", 13, x(3, 4), indices(-3, 3, 3, 4)).with(ai("axis", 0)),
		node("GatherElements smaller", 13, x(3, 4), indices(0, 4, 2, 3)).with(ai("axis", 1)),
		node("GatherND", 13, x(3, 4, 2), intsOf([]int64{2, 2}, 0, 1, 2, -1)),
		node("GatherND computed", 13, x(3, 3, 2), indices(-3, 3, 4, 2)),
		node("GatherND batch", 13, x(2, 3, 4), intsOf([]int64{2, 1}, 1, 0)).with(ai("batch_dims", 1)),
		node("GatherND computed batch", 13, x(2, 3, 4), indices(0, 3, 2, 5, 1)).with(ai("batch_dims", 1)),
		node("GatherND whole", 13, x(3, 4), intsOf([]int64{3, 2}, 0, 1, 2, 3, 1, 1)),
		node("TopK", 11, x(3, 6), ints(2)).outputs(2), node("TopK smallest", 11, x(3, 6), ints(3)).outputs(2).with(ai("axis", 0), ai("largest", 0)),
		node("TopK 1", 1, x(3, 6)).outputs(2).with(ai("k", 2)),
		node("NonZero", 13, given(floats([]int64{2, 3}, 1, 0, 2, 0, 0, 3))),
		node("Compress", 11, x(3, 4), bools(true, false, true)).with(ai("axis", 0)),
		node("Compress computed", 11, x(3, 4), truths(4)).with(ai("axis", 1)),
		node("Compress flat", 11, x(3, 4), bools(false, true, true, false, true)),
		node("ReverseSequence", 10, x(4, 3, 2), given(ints(4, 2, 1))), node("ReverseSequence time second", 10, x(3, 4), ints(1, 4, 2)).with(ai("batch_axis", 0), ai("time_axis", 1)),
		node("OneHot", 11, indices(-4, 4, 2, 3), scalarInt(4), floats([]int64{2}, -1, 3)), node("OneHot axis", 11, indices(0, 5, 3), ints(5), ints(0, 1)).with(ai("axis", 0)),
		node("OneHot beyond", 11, indices(-9, 9, 6), scalarInt(4), floats([]int64{2}, 0, 1)),
		node("Scatter", 10, x(3, 3), indices(0, 3, 2, 3), other(2, 3)).with(ai("axis", 0)),
		node("ScatterElements", 18, x(4, 3), permuted(4, 2), other(4, 2)).with(ai("axis", 0)),
		node("ScatterElements whole", 18, x(2, 4), intsOf([]int64{2, 2}, 1, -1, 0, 2), other(2, 2)).with(ai("axis", 1)),
		node("ScatterElements add", 18, x(2, 4), indices(-4, 4, 2, 3), other(2, 3)).with(ai("axis", 1), as("reduction", "add")),
		node("ScatterElements mul", 18, x(2, 4), indices(0, 4, 2, 3), other(2, 3)).with(ai("axis", 1), as("reduction", "mul")),
		node("ScatterElements max", 18, x(2, 4), indices(0, 4, 1, 3), other(1, 3)).with(ai("axis", 1), as("reduction", "max")),
		node("ScatterElements min", 18, x(2, 4), indices(0, 4, 2, 3), other(2, 3)).with(ai("axis", 1), as("reduction", "min")),
		node("ScatterND", 18, x(4, 3), intsOf([]int64{2, 1}, 3, -4), other(2, 3)),
		node("ScatterND add", 18, x(4, 3), indices(-3, 3, 5, 2), other(5)).with(as("reduction", "add")),
		node("ScatterND computed", 18, x(4, 3), given(intsOf([]int64{2, 2}, 1, 2, -1, 0)), other(2)),
		node("ScatterND max", 18, x(4, 3), indices(0, 4, 2, 1), other(2, 3)).with(as("reduction", "max")),
		node("Range", 11, given(scalarInt(2)), scalarInt(11), scalarInt(3)), node("Range floats", 11, scalar(1), given(scalar(2.2)), scalar(0.5)),
		node("ConstantOfShape", 9, given(ints(2, 3))), node("ConstantOfShape integers", 9, given(ints(2))).with(onnx.TensorAttr("value", onnx.NewInt64s("", []int64{7}, 1))),
		node("EyeLike", 9, x(3, 4)).with(ai("k", 1)), node("EyeLike integers", 9, x(3, 2)).with(ai("dtype", 7)),
		node("Trilu", 14, x(2, 4, 5)), node("Trilu low", 14, x(4, 5), scalarInt(1)).with(ai("upper", 0)), node("Trilu beyond", 14, x(4, 5), scalarInt(2)),
		node("Trilu low beyond", 14, x(2, 4, 5), scalarInt(-1)).with(ai("upper", 0)), node("Trilu back", 14, x(4, 5), scalarInt(-1)),
		node("Tile", 13, x(2, 1, 3), ints(2, 3, 1)), node("Tile integers", 13, numbers32(0, 9, 2, 3), ints(1, 2)),
		node("Expand", 13, x(3, 1), ints(2, 1, 4)), node("Expand same", 13, x(3, 4), ints(1, 4)), node("Expand bools", 13, truths(3, 1), ints(3, 4)),
	}
}

func padCases() []opCase {
	return []opCase{
		node("Pad", 13, x(1, 2, 3, 4), ints(0, 0, 1, 2, 0, 0, 3, 0), scalar(1.5)),
		node("Pad channels", 13, x(1, 2, 3, 4), ints(0, 1, 0, 0, 1, 2, 0, 0)),
		node("Pad 2", 2, x(2, 3)).with(ais("pads", 1, 0, 0, 2), af("value", -1)),
		node("Pad reflect", 13, x(1, 2, 4, 5), ints(0, 0, 2, 1, 0, 0, 1, 3)).with(as("mode", "reflect")),
		node("Pad reflect channels", 13, x(3, 4, 2), ints(1, 2, 0, 2, 0, 0)).with(as("mode", "reflect")),
		node("Pad edge", 13, x(1, 2, 4, 5), ints(0, 0, 2, 1, 0, 0, 1, 3)).with(as("mode", "edge")),
		node("Pad edge batch", 13, x(3, 2), ints(2, 0, 1, 5)).with(as("mode", "edge")),
		node("Pad wrap", 19, x(3, 4), ints(1, 2, 2, 3)).with(as("mode", "wrap")),
		node("Pad negative", 13, x(4, 5), ints(-1, 2, 1, -2), scalar(3)),
		node("Pad axes", 18, x(2, 3, 4), ints(1, 2), none, ints(-1)),
		node("Pad computed value", 13, x(2, 3), ints(1, 0, 0, 2), given(scalar(4))),
		node("Pad integers", 13, numbers32(0, 9, 2, 3), ints(1, 0, 0, 2)),
		node("CenterCropPad", 18, x(5, 4, 3), ints(2, 7, 3)), node("CenterCropPad axes", 18, x(5, 4), ints(3)).with(ais("axes", 1)),
	}
}

func resizeCases() []opCase {
	var out []opCase
	scales := floats([]int64{4}, 1, 1, 2.3, 0.7)
	for _, coordinates := range []string{"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"} {
		for _, mode := range []string{"nearest", "linear", "cubic"} {
			out = append(out,
				node("Resize "+mode+" "+coordinates, 19, x(1, 2, 5, 7), none, scales).with(as("mode", mode), as("coordinate_transformation_mode", coordinates)),
				node("Resize to "+mode+" "+coordinates, 19, x(1, 2, 5, 7), none, none, ints(1, 2, 8, 3)).with(as("mode", mode), as("coordinate_transformation_mode", coordinates)),
				node("Resize twice "+mode+" "+coordinates, 19, x(1, 2, 3, 4), none, floats([]int64{4}, 1, 1, 2, 3)).with(as("mode", mode), as("coordinate_transformation_mode", coordinates)))
		}
	}
	for _, nearest := range []string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"} {
		for _, coordinates := range []string{"half_pixel", "asymmetric"} {
			out = append(out, node("Resize "+nearest+" "+coordinates, 13, x(1, 1, 6, 4), none, floats([]int64{4}, 1, 1, 0.5, 1.75)).
				with(as("nearest_mode", nearest), as("coordinate_transformation_mode", coordinates)))
		}
	}
	roi := floats([]int64{8}, 0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2)
	return append(out,
		node("Resize 10", 10, x(1, 2, 3, 4), floats([]int64{4}, 1, 1, 2, 1.5)), node("Resize 10 linear", 10, x(1, 2, 3, 4), floats([]int64{4}, 1, 1, 2, 1.5)).with(as("mode", "linear")),
		node("Resize nearest for nn", 11, x(1, 1, 4, 6), floats([]int64{0}), floats([]int64{4}, 1, 1, 1.5, 0.5)).with(as("coordinate_transformation_mode", "tf_half_pixel_for_nn"), as("nearest_mode", "floor")),
		node("Resize crop", 13, x(1, 2, 5, 6), roi, none, ints(1, 2, 4, 8)).with(as("mode", "linear"), as("coordinate_transformation_mode", "tf_crop_and_resize"), af("extrapolation_value", 9)),
		node("Resize crop nearest", 13, x(1, 2, 5, 6), roi, none, ints(1, 2, 4, 8)).with(as("coordinate_transformation_mode", "tf_crop_and_resize"), af("extrapolation_value", 9)),
		node("Resize cubic coefficient", 13, x(1, 1, 5, 6), none, floats([]int64{4}, 1, 1, 2, 1.5)).with(as("mode", "cubic"), af("cubic_coeff_a", -0.5)),
		node("Resize cubic exclude", 13, x(1, 1, 5, 6), none, floats([]int64{4}, 1, 1, 2, 0.7)).with(as("mode", "cubic"), ai("exclude_outside", 1)),
		node("Resize antialias", 18, x(1, 2, 9, 8), none, floats([]int64{4}, 1, 1, 0.4, 0.5)).with(as("mode", "linear"), ai("antialias", 1)),
		node("Resize antialias cubic", 18, x(1, 2, 9, 8), none, floats([]int64{4}, 1, 1, 0.4, 0.5)).with(as("mode", "cubic"), ai("antialias", 1)),
		node("Resize antialias larger", 18, x(1, 2, 5, 4), none, floats([]int64{4}, 1, 1, 1.6, 2)).with(as("mode", "linear"), ai("antialias", 1)),
		node("Resize axes", 18, x(1, 2, 5, 4), none, none, ints(7, 9)).with(as("mode", "linear"), ais("axes", 3, 2)),
		node("Resize not larger", 18, x(1, 2, 5, 4), none, none, ints(9, 12)).with(as("mode", "linear"), ais("axes", 2, 3), as("keep_aspect_ratio_policy", "not_larger")),
		node("Resize not smaller", 18, x(1, 2, 5, 4), none, none, ints(9, 12)).with(ais("axes", 2, 3), as("keep_aspect_ratio_policy", "not_smaller")),
		node("Resize volume", 13, x(1, 1, 3, 4, 5), none, floats([]int64{5}, 1, 1, 2, 1.5, 2)).with(as("mode", "linear")),
		node("Resize volume nearest", 13, x(1, 1, 3, 4, 5), none, floats([]int64{5}, 1, 1, 2, 1.5, 2)),
		node("Resize line", 13, x(1, 2, 6), none, floats([]int64{3}, 1, 1, 2.5)).with(as("mode", "linear")),
		node("Resize channels", 13, x(2, 3), none, floats([]int64{2}, 2, 3)).with(as("mode", "linear")),
		node("Resize to one", 13, x(1, 1, 4, 5), none, none, ints(1, 1, 1, 1)).with(as("mode", "linear"), as("coordinate_transformation_mode", "pytorch_half_pixel")),
		node("Upsample", 9, x(1, 2, 3, 4), floats([]int64{4}, 1, 1, 2, 3)), node("Upsample linear", 9, x(1, 2, 3, 4), floats([]int64{4}, 1, 1, 2, 3)).with(as("mode", "linear")),
		node("Upsample 7", 7, x(1, 2, 3, 4)).with(afs("scales", 1, 1, 2, 2)),
	)
}

func spaceCases() []opCase {
	var out []opCase
	grid := between(-1.6, 1.6, 2, 3, 4, 2)
	for _, padding := range []string{"zeros", "border", "reflection"} {
		for _, mode := range []string{"bilinear", "nearest"} {
			for corners := range int64(2) {
				name := "GridSample " + mode + " " + padding
				if corners == 1 {
					name += " corners"
				}
				out = append(out, node(name, 16, x(2, 3, 5, 4), grid).with(as("mode", mode), as("padding_mode", padding), ai("align_corners", corners)).loose(3e-2))
			}
		}
	}
	regions := floats([]int64{3, 4}, 0.5, 1, 6, 5.5, 2, 2, 9, 9, -1, 0, 3, 2.5)
	return append(out,
		node("DepthToSpace", 13, x(1, 8, 2, 3)).with(ai("blocksize", 2)), node("DepthToSpace CRD", 13, x(1, 8, 2, 3)).with(ai("blocksize", 2), as("mode", "CRD")),
		node("SpaceToDepth", 13, x(1, 2, 4, 6)).with(ai("blocksize", 2)),
		node("RoiAlign", 16, x(2, 3, 8, 8), given(regions), ints(0, 1, 1)).with(ai("output_height", 2), ai("output_width", 3), ai("sampling_ratio", 2)).loose(3e-2),
		node("RoiAlign 10", 10, x(2, 3, 8, 8), given(regions), given(ints(0, 1, 1))).with(ai("output_height", 2), ai("output_width", 2), ai("sampling_ratio", 3), af("spatial_scale", 0.5)).loose(3e-2),
		node("AffineGrid", 20, x(2, 2, 3), ints(2, 3, 4, 5)), node("AffineGrid corners", 20, x(1, 3, 4), ints(1, 2, 2, 3, 4)).with(ai("align_corners", 1)),
	)
}

func layerNormCases() []opCase {
	ms := "com.microsoft:"
	return []opCase{
		node("LayerNormalization", 17, x(2, 3, 4), w(4), weights(-2, 2, 4)), node("LayerNormalization axis", 17, x(2, 3, 4), w(3, 4)).with(ai("axis", 1), af("epsilon", 1e-3)),
		node("LayerNormalization computed", 17, x(2, 3, 4), other(4), x(4)).with(ai("axis", -1)),
		node("LayerNormalization moments", 17, x(2, 3, 4), w(4), w(4)).outputs(3),
		node("RMSNormalization", 23, x(2, 3, 4), w(4)), node("RMSNormalization axis", 23, x(2, 3, 4), w(3, 4)).with(ai("axis", 1)),
		node("RMSNormalization large", 23, between(-900, 900, 2, 8), w(8)),
		node("SimplifiedLayerNormalization", 17, x(2, 3, 4), w(4)).with(ai("axis", -1), af("epsilon", 1e-5)),
		node("GroupNormalization", 21, x(2, 6, 3, 3), w(6), weights(-2, 2, 6)).with(ai("num_groups", 3)),
		node("GroupNormalization 18", 18, x(2, 6, 3), w(2), weights(-2, 2, 2)).with(ai("num_groups", 2)),
		node("InstanceNormalization", 6, x(2, 3, 4, 5), w(3), weights(-2, 2, 3)), node("InstanceNormalization line", 6, x(2, 3, 5), w(3), w(3)),
		node("InstanceNormalization volume", 6, x(1, 2, 3, 2, 4), w(2), w(2)), node("InstanceNormalization computed", 6, x(2, 3, 4, 5), other(3), x(3)),
		node("LRN", 13, x(1, 6, 3, 3)).with(ai("size", 3), af("alpha", 0.1)),
		node(ms+"SkipLayerNormalization", 17, x(2, 3, 4), other(2, 3, 4), w(4), w(4)), node(ms+"SkipLayerNormalization bias", 17, x(2, 3, 4), other(2, 3, 4), w(4), none, weights(-2, 2, 4)).outputs(4).with(af("epsilon", 1e-5)),
		node(ms+"SkipSimplifiedLayerNormalization", 17, x(2, 3, 4), other(2, 3, 4), w(4)),
		node(ms+"EmbedLayerNormalization", 17, numbers32(0, 9, 2, 3), numbers32(0, 2, 2, 3), w(9, 4), w(5, 4), weights(-0.5, 1, 2, 4), weights(0.5, 2, 4), w(4), numbers32(0, 2, 2, 3)).gives(onnx.Float, onnx.Int32, onnx.Float),
	}
}

func fusionCases() []opCase {
	ms := "com.microsoft:"
	return []opCase{
		node("Gelu", 20, x(3, 5)), node("Gelu tanh", 20, x(3, 5)).with(as("approximate", "tanh")), node(ms+"Gelu", 17, x(3, 5)),
		node(ms+"BiasGelu", 17, x(3, 5), w(5)), node(ms+"FastGelu", 17, x(3, 5), w(5)), node(ms+"FastGelu alone", 17, x(3, 5)),
		node(ms+"QuickGelu", 17, x(3, 5)), node(ms+"QuickGelu alpha", 17, x(3, 5)).with(af("alpha", 1)),
		node(ms+"FusedConv", 17, x(1, 2, 5, 5), w(3, 2, 3, 3), w(3)).with(as("activation", "Relu"), ais("kernel_shape", 3, 3)),
		node(ms+"FusedConv added", 17, x(1, 2, 5, 5), w(3, 2, 3, 3), w(3), other(1, 3, 5, 5)).with(as("activation", "Relu"), ais("pads", 1, 1, 1, 1)),
		node(ms+"FusedConv leaky", 17, x(1, 2, 5, 5), w(3, 2, 3, 3), w(3)).with(as("activation", "LeakyRelu"), afs("activation_params", 0.2)),
		node(ms+"FusedConv hard", 17, x(1, 2, 5, 5), w(3, 2, 3, 3)).with(as("activation", "HardSigmoid"), afs("activation_params", 0.3, 0.4)),
		node(ms+"FusedConv clip", 17, x(1, 2, 5, 5), w(3, 2, 3, 3)).with(as("activation", "Clip"), afs("activation_params", -0.5, 0.7)),
		node(ms+"FusedGemm", 17, x(3, 4), w(5, 4), w(5)).with(as("activation", "LeakyRelu"), af("activation_alpha", 0.3), ai("transB", 1)),
		node(ms+"FusedMatMul", 17, x(2, 4, 3), other(2, 5, 4)).with(ai("transA", 1), ai("transB", 1), af("alpha", 0.5)),
		node(ms+"TransposeMatMul", 17, x(4, 3), w(5, 4)).with(ai("transA", 1), ai("transB", 1)), node(ms+"FusedMatMul plain", 17, x(2, 3, 4), w(4, 5)), node(ms+"FusedMatMul batches", 17, x(3, 2, 4), other(4, 2, 5)).with(ai("transBatchA", 1), ai("transBatchB", 1)),
	}
}

func einsumCases() []opCase {
	eq := func(name, equation string, in ...operand) opCase {
		return node("Einsum "+name, 12, in...).with(as("equation", equation))
	}
	return []opCase{
		eq("product", "ij,jk->ik", x(3, 4), w(4, 5)), eq("heads", "bhid,bhjd->bhij", x(2, 3, 4, 5), other(2, 3, 6, 5)),
		eq("implicit", "ij,jk", x(3, 4), other(4, 5)), eq("turned", "ijk->kij", x(2, 3, 4)), eq("sum", "ijk->j", x(2, 3, 4)),
		eq("dot", "i,i->", x(4), other(4)), eq("outer", "i,j->ji", x(4), other(3)), eq("ellipsis", "...ij,...jk->...ik", x(2, 2, 3, 4), other(2, 2, 4, 5)),
		eq("three", "ij,jk,kl->il", x(2, 3), other(3, 4), w(4, 5)), eq("elements", "bij,bij->bij", x(2, 3, 4), other(2, 3, 4)), eq("alone", "bij,bkl->bi", x(2, 3, 4), other(2, 2, 3)),
		eq("same", "ij->ij", x(2, 3)), eq("relative", "bnqd,qkd->bnqk", x(2, 2, 3, 4), w(3, 5, 4)),
	}
}

func recurrentCases() []opCase {
	h := ai("hidden_size", 3)
	lstm := func(name string, d int64, more ...operand) opCase {
		return node("LSTM "+name, 14, append([]operand{x(4, 2, 5), weights(-0.6, 0.6, d, 12, 5), weights(-0.5, 0.5, d, 12, 3)}, more...)...).outputs(3)
	}
	gru := func(name string, d int64, more ...operand) opCase {
		return node("GRU "+name, 14, append([]operand{x(4, 2, 5), weights(-0.6, 0.6, d, 9, 5), weights(-0.5, 0.5, d, 9, 3)}, more...)...).outputs(2)
	}
	rnn := func(name string, d int64, more ...operand) opCase {
		return node("RNN "+name, 14, append([]operand{x(4, 2, 5), weights(-0.6, 0.6, d, 3, 5), weights(-0.5, 0.5, d, 3, 3)}, more...)...).outputs(2)
	}
	lengths := operand{value: tensor.Of([]int64{2}, []int32{4, 2}), constant: true}
	both := as("direction", "bidirectional")
	return []opCase{
		lstm("plain", 1).with(h), lstm("bias", 1, w(1, 24), none, x(1, 2, 3), other(1, 2, 3)).with(h),
		lstm("reverse", 1, w(1, 24)).with(h, as("direction", "reverse")), lstm("both", 2, w(2, 24), none, x(2, 2, 3), other(2, 2, 3)).with(h, both),
		lstm("lengths", 2, w(2, 24), lengths, x(2, 2, 3), other(2, 2, 3)).with(h, both), lstm("computed lengths", 1, w(1, 24), given(lengths)).with(h, as("direction", "reverse")),
		lstm("peepholes", 1, w(1, 24), none, none, none, weights(-1, 1, 1, 9)).with(h), lstm("clip", 1, w(1, 24)).with(h, af("clip", 0.4)),
		lstm("coupled", 1, w(1, 24)).with(h, ai("input_forget", 1)),
		lstm("activations", 1, w(1, 24)).with(h, onnx.StringsAttr("activations", "HardSigmoid", "Softsign", "Relu"), afs("activation_alpha", 0.3), afs("activation_beta", 0.4)),
		lstm("relu", 1, w(1, 24)).with(h, onnx.StringsAttr("activations", "Sigmoid", "Relu", "Tanh")),
		lstm("computed weights", 1, w(1, 24)).weightsGiven().with(h),
		gru("plain", 1).with(h), gru("bias", 1, w(1, 18), none, x(1, 2, 3)).with(h), gru("after", 1, w(1, 18), none, x(1, 2, 3)).with(h, ai("linear_before_reset", 1)),
		gru("both", 2, w(2, 18)).with(h, both, ai("linear_before_reset", 1)), gru("reverse", 1, w(1, 18)).with(h, as("direction", "reverse")),
		gru("lengths", 2, w(2, 18), lengths).with(h, both), gru("clip", 1, w(1, 18)).with(h, af("clip", 0.5)), gru("computed weights", 1, given(w(1, 18))).weightsGiven().with(h),
		rnn("plain", 1).with(h), rnn("both", 2, w(2, 6), none, x(2, 2, 3)).with(h, both), rnn("reverse relu", 1, w(1, 6)).with(h, as("direction", "reverse"), onnx.StringsAttr("activations", "Relu")),
		rnn("affine", 1, w(1, 6)).with(h, onnx.StringsAttr("activations", "Affine"), afs("activation_alpha", 0.8), afs("activation_beta", 0.1)),
		rnn("lengths", 1, w(1, 6), lengths).with(h),
	}
}

func elementCases() []opCase {
	var out []opCase
	for _, op := range []string{"Relu", "LeakyRelu", "Elu", "ThresholdedRelu", "Selu", "Celu", "Mish", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSigmoid", "HardSwish",
		"Shrink", "Erf", "Neg", "Abs", "Sign", "Exp", "Floor", "Ceil", "Round", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh", "Softmax", "LogSoftmax", "Hardmax", "Identity"} {
		out = append(out, node(op, 22, x(2, 3, 4)))
	}
	for _, op := range []string{"Sqrt", "Log", "Reciprocal", "Acosh"} {
		out = append(out, node(op, 22, between(1.05, 4, 3, 4)))
	}
	for _, op := range []string{"Asin", "Acos", "Atanh", "Tan"} {
		out = append(out, node(op, 22, between(-0.9, 0.9, 3, 4)))
	}
	for _, op := range []string{"Add", "Sub", "Mul", "Div"} {
		out = append(out, node(op, 14, x(2, 3, 4), between(0.5, 2, 3, 1)), node(op+" integers", 14, numbers32(-20, 20, 3, 4), numbers32(1, 6, 4)), node(op+" constant", 14, x(1, 4), weights(0.5, 1, 4)))
	}
	for _, op := range []string{"Min", "Max", "Sum", "Mean"} {
		out = append(out, node(op, 13, x(2, 3), other(3), scalar(0.25)), node(op+" one", 13, x(2, 3)))
	}
	return append(out,
		node("LeakyRelu alpha", 16, x(3, 4)).with(af("alpha", 0.3)), node("Elu alpha", 22, x(3, 4)).with(af("alpha", 0.7)), node("Selu parameters", 22, x(3, 4)).with(af("alpha", 2), af("gamma", 0.5)),
		node("Celu alpha", 12, x(3, 4)).with(af("alpha", 0.5)), node("ThresholdedRelu alpha", 22, given(floats([]int64{4}, 0.5, 0.25, 0.75, -1))).with(af("alpha", 0.5)),
		node("HardSigmoid parameters", 22, x(3, 4)).with(af("alpha", 0.4), af("beta", 0.3)), node("Shrink parameters", 9, x(3, 4)).with(af("lambd", 0.7), af("bias", 0.2)),
		node("Swish", 24, x(3, 4)), node("Swish alpha", 24, x(3, 4)).with(af("alpha", 0.5)), node("Relu integers", 14, numbers32(-5, 5, 3, 4)),
		node("PRelu", 16, x(2, 3, 4, 4), w(3, 1, 1)), node("PRelu each", 16, x(2, 3, 4), w(3, 4)), node("PRelu one", 16, x(2, 3), w(1)),
		node("Clip", 13, x(3, 4), scalar(-0.5), scalar(1)), node("Clip 6", 6, x(3, 4)).with(af("min", -1), af("max", 0.5)), node("Clip above", 13, x(3, 4), none, scalar(0.5)),
		node("Clip relu6", 13, between(-4, 9, 3, 4), scalar(0), scalar(6)), node("Clip computed", 13, x(3, 4), given(scalar(-0.5)), scalar(1)), node("Clip integers", 13, numbers32(-9, 9, 3, 4), int32Scalar(-3), int32Scalar(4)),
		node("Pow", 15, between(0.3, 2, 3, 4), x(4)), node("Pow square", 15, x(3, 4), scalar(2)),
		node("Mod", 13, numbers32(-9, 9, 3, 4), numbers32(1, 5, 4)), node("Mod float", 13, x(3, 4), between(0.4, 1.2, 4)).with(ai("fmod", 1)), node("Mod integers fmod", 13, numbers32(-9, 9, 3, 4), numbers32(1, 5, 4)).with(ai("fmod", 1)),
		node("Cast integers", 13, x(3, 4)).with(ai("to", 6)), node("Cast bool", 13, numbers32(-1, 2, 3, 4)).with(ai("to", 9)), node("Cast float", 13, numbers32(-5, 5, 3, 4)).with(ai("to", 1)),
		node("CastLike", 15, x(3, 4), numbers32(0, 1, 1)), node("Neg integers", 13, numbers32(-5, 5, 3)), node("Abs integers", 13, numbers32(-5, 5, 3)), node("Sign integers", 13, numbers32(-5, 5, 3)),
		node("Softmax axis", 13, x(2, 3, 4)).with(ai("axis", 1)), node("Softmax 11", 11, x(2, 3, 4)).with(ai("axis", 1)), node("LogSoftmax 11", 11, x(2, 3, 4)).with(ai("axis", 1)), node("Hardmax axis", 13, x(2, 3, 4)).with(ai("axis", 1)),
		node("Dropout", 13, x(3, 4)), node("Round halves", 22, given(floats([]int64{6}, 0.5, 1.5, 2.5, -0.5, -1.5, 0.7))),
	)
}

func layerCases() []opCase {
	k := ais("kernel_shape", 3, 3)
	return []opCase{
		node("Conv", 22, x(1, 4, 7, 8), w(6, 4, 3, 3), w(6)).with(ais("pads", 1, 0, 2, 1), ais("strides", 2, 1)), node("Conv groups", 22, x(2, 4, 6, 6), w(4, 1, 3, 3)).with(ai("group", 4), ais("dilations", 2, 1)),
		node("Conv line", 22, x(1, 3, 9), w(4, 3, 3), w(4)), node("Conv volume", 22, x(1, 2, 4, 5, 5), w(3, 2, 2, 3, 3)), node("Conv same", 22, x(1, 2, 7, 6), w(3, 2, 4, 3)).with(as("auto_pad", "SAME_UPPER"), ais("strides", 2, 2)),
		node("Conv same lower", 22, x(1, 2, 7, 6), w(3, 2, 4, 3)).with(as("auto_pad", "SAME_LOWER"), ais("strides", 2, 2)),
		node("ConvTranspose", 22, x(1, 3, 4, 5), w(3, 2, 3, 3), w(2)).with(ais("strides", 2, 2), ais("pads", 1, 1, 1, 1)),
		node("ConvTranspose output", 22, x(1, 3, 4, 5), w(3, 2, 3, 3), w(2)).with(ais("strides", 2, 2), ais("output_padding", 1, 1), ais("pads", 1, 1, 1, 1)),
		node("ConvTranspose groups", 22, x(1, 4, 4, 5), w(4, 2, 2, 2)).with(ai("group", 2), ais("strides", 2, 2)), node("ConvTranspose line", 22, x(1, 3, 6), w(3, 2, 3)).with(ais("strides", 2), ais("dilations", 2)),
		node("MaxPool", 22, x(1, 2, 7, 8)).with(k, ais("strides", 2, 2), ais("pads", 1, 1, 1, 1)), node("MaxPool ceil", 22, x(1, 2, 7, 8)).with(k, ais("strides", 2, 2), ai("ceil_mode", 1)),
		node("MaxPool same", 22, x(1, 2, 7, 8)).with(k, ais("strides", 2, 2), as("auto_pad", "SAME_UPPER")), node("MaxPool line", 22, x(1, 2, 9)).with(ais("kernel_shape", 3)),
		node("AveragePool", 22, x(1, 2, 7, 8)).with(k, ais("strides", 2, 2), ais("pads", 1, 1, 1, 1)), node("AveragePool counted", 22, x(1, 2, 7, 8)).with(k, ais("pads", 1, 0, 2, 1), ai("count_include_pad", 1)),
		node("AveragePool ceil", 22, x(1, 2, 6, 8)).with(k, ais("strides", 2, 2), ai("ceil_mode", 1)),
		node("LpPool", 22, x(1, 2, 7, 8)).with(k, ais("strides", 2, 2)), node("GlobalAveragePool", 22, x(2, 3, 4, 5)), node("GlobalMaxPool", 22, x(2, 3, 4, 5)), node("GlobalLpPool", 2, x(2, 3, 4, 5)),
		node("BatchNormalization", 15, x(2, 3, 4, 4), w(3), w(3), w(3), weights(0.5, 2, 3)), node("BatchNormalization matrix", 15, x(2, 3), w(3), w(3), w(3), weights(0.5, 2, 3)),
		node("BatchNormalization computed", 15, x(2, 3, 4, 4), other(3), w(3), w(3), weights(0.5, 2, 3)),
		node("LpNormalization", 22, x(3, 4)), node("LpNormalization 1", 22, x(3, 4)).with(ai("p", 1), ai("axis", 0)), node("MeanVarianceNormalization", 13, x(2, 3, 4, 4)),
		node("Gemm", 13, x(3, 4), w(5, 4), w(5)).with(ai("transB", 1), af("alpha", 0.5), af("beta", 2)), node("Gemm computed", 13, x(4, 3), other(4, 5), w(3, 5)).with(ai("transA", 1)), node("Gemm plain", 13, x(3, 4), w(4, 5)),
		node("MatMul", 13, x(2, 3, 4), w(4, 5)), node("MatMul computed", 13, x(2, 3, 4), other(2, 4, 5)), node("MatMul batches", 13, x(2, 1, 3, 4), other(3, 4, 5)), node("MatMul vector", 13, x(3, 4), w(4)), node("MatMul vectors", 13, x(4), other(4)),
		node("MatMul from vector", 13, x(4), other(2, 4, 3)),
	}
}

func moveCases() []opCase {
	return []opCase{
		node("Concat", 13, x(2, 3), other(2, 2), w(2, 1)).with(ai("axis", -1)), node("Concat integers", 13, numbers32(0, 5, 2), intsOf32(3)).with(ai("axis", 0)),
		node("Split", 18, x(2, 6)).outputs(3).with(ai("axis", 1), ai("num_outputs", 3)), node("Split sizes", 13, x(5, 2), ints(2, 3)).outputs(2), node("Split 2", 2, x(4, 2)).outputs(2).with(ais("split", 1, 3)),
		node("Slice", 13, x(4, 5, 6), ints(1, -4), ints(3, 1000), ints(0, 2)), node("Slice steps", 13, x(4, 7), ints(0, 5), ints(4, -100), ints(0, 1), ints(2, -2)), node("Slice 1", 1, x(4, 5)).with(ais("starts", 1, -3), ais("ends", 3, -1)),
		node("Slice reversed", 13, x(4, 3), ints(-1), ints(-9223372036854775808), ints(0), ints(-1)),
		node("Reshape", 14, x(2, 3, 4), ints(0, -1)), node("Reshape integers", 14, numbers32(0, 9, 2, 6), ints(3, 4)), node("Flatten", 13, x(2, 3, 4)).with(ai("axis", 2)), node("Flatten all", 13, x(2, 3)).with(ai("axis", 0)),
		node("Squeeze", 13, x(1, 3, 1, 2), ints(0, -2)), node("Squeeze all", 13, x(1, 3, 1)), node("Unsqueeze", 13, x(2, 3), ints(0, -1)), node("Unsqueeze 11", 11, x(2, 3)).with(ais("axes", 1)),
		node("Transpose", 13, x(2, 3, 4)).with(ais("perm", 2, 0, 1)), node("Transpose default", 13, x(2, 3, 4)),
	}
}
