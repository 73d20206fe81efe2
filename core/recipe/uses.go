package recipe

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
