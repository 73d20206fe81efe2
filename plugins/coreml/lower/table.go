package lower

// table joins the rules of all families. A new family is a file with a slice of rules, and a line here.
var table = [][]Rule{
	activations,
	elementwise,
	convolutions,
	pooling,
	normalizations,
	products,
	layouts,
	joins,
	casts,
	quantizations,
	reductions,
	comparisons,
	gathers,
	scatters,
	generators,
	paddings,
	resizes,
	spaces,
	layerNorms,
	fusions,
	einsums,
	recurrences,
}
