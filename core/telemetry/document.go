package telemetry

import (
	"fmt"
	"strings"
)

// Document is docs/telemetry.md but for the spans of bundled plugins: all that is known of the names, as Markdown.
func Document() string {
	var b strings.Builder
	b.WriteString(`# Telemetry

Every ` + "`optimize apply`" + ` is traced. Spans, metrics and logs of the host and of all its plugins are written to the run's
folder as OTLP/JSON lines: ` + "`trace.jsonl`, `metrics.jsonl` and `logs.jsonl`" + `. Nothing leaves the machine unless the standard
variables say so: OTEL_EXPORTER_OTLP_ENDPOINT (or that of one signal), with the variables for protocol, headers,
timeouts and certificates. OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none (METRICS, LOGS) stop the export, not the
files. A run hangs under TRACEPARENT when that is set.

A collector that is away or slow neither fails nor slows a run: batches wait in a queue of ` + fmt.Sprint(queued) + `, what does not fit is
dropped from the export, the end of a run waits at most ` + flushBound.String() + ` (OTEL_BSP_EXPORT_TIMEOUT, in milliseconds, gives it more), and what is
not sent by then is left to a process that outlives the run by half a minute at most. One warning says that something is
missing.

A plugin exports to the host, on a socket that OTEL_EXPORTER_OTLP_ENDPOINT names in the plugin's environment, so the stock
exporters of any language work, in the children of a plugin too. The host writes and forwards; the user's collector and
its secrets are unknown to plugins.

This page is generated from core/telemetry/names.go.
`)
	b.WriteString("\n## Spans\n\n| name | kind | what it covers |\n|---|---|---|\n")
	for _, d := range Spans {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", d.Name, d.Kind, d.Text)
	}
	b.WriteString("\n## Attributes\n\nThe names that begin with cicd are those of the semantic conventions for CI/CD.\n\n| name | on | what it says |\n|---|---|---|\n")
	for _, d := range Attributes {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", d.Name, d.On, d.Text)
	}
	b.WriteString("\n## Metrics\n\n| name | kind | unit | what it counts |\n|---|---|---|---|\n")
	for _, d := range Metrics {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Kind, d.Unit, d.Text)
	}
	b.WriteString("\n## Logs\n\nWhat a step logs through the SDK (`Run.Log`), as log records under the step's span, with `optimize.addr`, `optimize.plugin`\nand the step's own fields.\n")
	return b.String()
}
