package sdk

// Chart is a fact that the report draws: a field of a step's facts of this type becomes a chart with a line for each of
// Lines. Plugins in other languages write an object with these fields.
type Chart struct {
	Title string      `opt:"title" doc:"What the chart is about."`
	X     string      `opt:"x" doc:"What lies along the horizontal axis, with its unit."`
	Y     string      `opt:"y" doc:"What lies along the vertical axis, with its unit."`
	Lines []ChartLine `opt:"lines" doc:"The lines, each with as many x as y."`
}

// ChartLine is one line of a Chart.
type ChartLine struct {
	Name string    `opt:"name" doc:"What the line is of."`
	X    []float64 `opt:"x" doc:"Where its points lie, rising."`
	Y    []float64 `opt:"y" doc:"How high they lie."`
}
