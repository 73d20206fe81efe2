// Package telemetry is the OpenTelemetry set-up of a run: one trace of host and plugins with their metrics and logs,
// written to the run's folder and exported by OTLP when the standard variables say so.
package telemetry

import "github.com/optimize-hcl/optimize/sdk/pluginv1"

// Names of spans, attributes and metrics. This file is the only place that defines them: docs/telemetry.md is generated
// from the tables at its end.
const (
	// ServiceName is the host's service.name.
	ServiceName = "optimize"
	// Scope is the instrumentation scope of the host's spans, metrics and logs.
	Scope = "github.com/optimize-hcl/optimize"

	// SpanRun begins the name of a run's root span, before the recipe's file name (CI/CD semantic conventions).
	SpanRun = "RUN "

	AttrPipelineName   = "cicd.pipeline.name"
	AttrPipelineAction = "cicd.pipeline.action.name"
	AttrRunID          = "cicd.pipeline.run.id"
	AttrRunResult      = "cicd.pipeline.result"
	AttrTaskName       = "cicd.pipeline.task.name"
	AttrTaskRunID      = "cicd.pipeline.task.run.id"
	AttrTaskResult     = "cicd.pipeline.task.run.result"

	AttrAddr     = "optimize.addr"
	AttrKind     = "optimize.kind"
	AttrStepType = "optimize.step.type"
	AttrStatus   = "optimize.status"
	AttrCached   = "optimize.cached"
	AttrPlugin   = "optimize.plugin"
	AttrKey      = "optimize.key"

	MetricActions  = "optimize.actions"
	MetricDuration = "optimize.action.duration"
	MetricOutput   = "optimize.output.size"
)

// Doc describes one name.
type Doc struct {
	Name string
	// Unit is a metric's, after UCUM; Kind is "counter" or "histogram", or a span's kind.
	Unit, Kind string
	// On are the spans and metrics that carry an attribute.
	On   string
	Text string
}

// Spans lists the spans of host and SDK.
var Spans = []Doc{
	{Name: SpanRun + "RECIPE", Kind: "SERVER", Text: "One `optimize apply`; RECIPE is the recipe's file name. It hangs under TRACEPARENT when that is set."},
	{Name: "model NAME", Kind: "INTERNAL", Text: "A model is read and hashed."},
	{Name: "dataset NAME", Kind: "INTERNAL", Text: "A dataset is materialised, or found in the cache."},
	{Name: "step NAME", Kind: "INTERNAL", Text: "A step is looked up and, when the cache does not hold it, applied. With for_each the name holds the key."},
	{Name: "evaluate NAME", Kind: "INTERNAL", Text: "Candidates are measured and graded."},
	{Name: "output NAME", Kind: "INTERNAL", Text: "An output's value is taken."},
	{Name: "optimize.plugin.v1.Plugin/METHOD", Kind: "CLIENT, SERVER", Text: "A call of the host to a plugin: Validate, Plan, Apply, Inspect. The client's span is the host's, the server's the plugin's."},
	{Name: "optimize.plugin.v1.Runtime/METHOD", Kind: "CLIENT, SERVER", Text: "A call of the host to an engine: Probe, CheckOptions, Open, Predict, Benchmark, Coverage, Close."},
	{Name: "optimize.plugin.v1.Host/METHOD", Kind: "CLIENT, SERVER", Text: "A call of a step to the host: Evaluate, Race, ReadCoverage."},
	{Name: pluginv1.SpanStart + "NAME", Kind: "INTERNAL", Text: "A plugin's process, from its first line to the host's first call."},
}

// Attributes lists the attributes that the host sets. Those of gRPC calls follow the semantic conventions for RPC.
var Attributes = []Doc{
	{Name: AttrPipelineName, On: "RUN", Text: "The recipe's file name."},
	{Name: AttrPipelineAction, On: "RUN", Text: "What is done with the recipe: RUN."},
	{Name: AttrRunID, On: "RUN", Text: "The run's id, the name of its folder."},
	{Name: AttrRunResult, On: "RUN", Text: "success, failure or cancellation. An ensure that did not hold is a failure."},
	{Name: AttrTaskName, On: "step, evaluate, dataset", Text: "The block's name."},
	{Name: AttrTaskRunID, On: "step, evaluate, dataset", Text: "The run's id and the address."},
	{Name: AttrTaskResult, On: "step, evaluate, dataset", Text: "success, failure, timeout, cancellation or skip."},
	{Name: AttrAddr, On: "model, dataset, step, evaluate, output; logs", Text: "The address in the recipe: `step.int8`."},
	{Name: AttrKind, On: "metrics", Text: "model, dataset, step, evaluate or output."},
	{Name: AttrStepType, On: "step; metrics", Text: "The step's type: `quantize_static`."},
	{Name: AttrStatus, On: "model, dataset, step, evaluate, output; metrics", Text: "done, cached, failed or stopped."},
	{Name: AttrCached, On: "dataset, step", Text: "Whether the cache held the result."},
	{Name: AttrPlugin, On: "step; metrics; logs", Text: "The plugin that did the work."},
	{Name: AttrKey, On: "dataset, step", Text: "The cache key, SHA-256 in hex."},
}

// Metrics lists the metrics of the host. Those of plugins go the same way under the plugin's own names.
var Metrics = []Doc{
	{Name: MetricActions, Kind: "counter", Unit: "{action}", Text: "Actions of a run, by kind, status, step type and plugin."},
	{Name: MetricDuration, Kind: "histogram", Unit: "s", Text: "Time that an action took, by kind, status, step type and plugin."},
	{Name: MetricOutput, Kind: "histogram", Unit: "By", Text: "Size of what an action gave, by kind, step type and plugin."},
}
