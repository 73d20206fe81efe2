// Package telemetry is the OpenTelemetry set-up of a run: one trace of host and plugins, written to the run's folder
// and exported by OTLP when the standard variables say so.
package telemetry

// Names of spans and attributes. This file is the only place that defines them.
const (
	// ServiceName is the host's service.name.
	ServiceName = "optimize"
	// Scope is the instrumentation scope of the host's spans.
	Scope = "github.com/optimize-hcl/optimize"

	// SpanRun begins the name of a run's root span, before the recipe's file name (CI/CD semantic conventions).
	SpanRun = "RUN "

	AttrPipelineName = "cicd.pipeline.name"
	AttrRunID        = "cicd.pipeline.run.id"
	AttrRunResult    = "cicd.pipeline.result"
	// AttrPipelineAction is what is done with the recipe: RUN.
	AttrPipelineAction = "cicd.pipeline.action.name"
	// AttrTaskName is a step's name, AttrTaskRunID names it within the run, AttrTaskResult is success, failure, error,
	// timeout, cancellation or skip.
	AttrTaskName   = "cicd.pipeline.task.name"
	AttrTaskRunID  = "cicd.pipeline.task.run.id"
	AttrTaskResult = "cicd.pipeline.task.run.result"

	// AttrAddr is an action's address in the recipe: "step.int8".
	AttrAddr = "optimize.addr"
	// AttrStatus is how an action ended: done, cached, failed, stopped.
	AttrStatus = "optimize.status"
	// AttrCached tells whether the store held the result.
	AttrCached = "optimize.cached"
	// AttrPlugin is the plugin that did the work.
	AttrPlugin = "optimize.plugin"
	// AttrKey is the cache key, SHA-256 in hex.
	AttrKey = "optimize.key"
)
