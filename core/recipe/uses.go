package recipe

import "slices"

// StepUse is a step block: its type and its name.
type StepUse struct{ Type, Name string }

// StepTypes gives the step blocks in the order of the recipe. They are known before anything is checked.
func (r *Recipe) StepTypes() []StepUse {
	var out []StepUse
	for _, b := range r.blocks {
		if b.kind == KindStep {
			out = append(out, StepUse{b.typeName, b.name})
		}
	}
	return out
}

// Addresses gives the blocks of the given kinds in the order of the recipe, such as "step.int8". They are known before
// anything is checked; a step with for_each is one.
func (r *Recipe) Addresses(kinds ...string) []string {
	var out []string
	for _, b := range r.blocks {
		if slices.Contains(kinds, b.kind) {
			out = append(out, b.kind+"."+b.name)
		}
	}
	return out
}

// Variables gives the names of the variables in the order of the recipe.
func (r *Recipe) Variables() []string {
	var out []string
	for _, b := range r.blocks {
		if b.kind == "variable" {
			out = append(out, b.name)
		}
	}
	return out
}
