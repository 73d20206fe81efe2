package groups

// Remaining lists for each axis of a value of the model the indexes that a selection leaves, nil where all stay; nil for
// a value that keeps all. The model may have been cut since.
func (a *Analysis) Remaining(sel *Selection, value string) [][]int {
	axes := a.s.axesOf(value)
	c := a.cutter(sel)
	out, any := make([][]int, len(axes)), false
	for i, l := range axes {
		if l.free() && c.cuts(l) {
			out[i], any = c.kept(l), true
		}
	}
	if !any {
		return nil
	}
	return out
}
