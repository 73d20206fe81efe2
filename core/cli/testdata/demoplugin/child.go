package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"go.opentelemetry.io/contrib/propagators/envcar"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/optimize-hcl/optimize/sdk"
)

// startChild has this program once more do a part of the work.
func startChild(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, exe, "child")
	c.Env = sdk.Environ(ctx)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("the child failed: %w: %s", err, out)
	}
	return nil
}

// child is a process without the SDK: it traces by the standard variables alone.
func child() {
	ctx := propagation.TraceContext{}.Extract(context.Background(), &envcar.Carrier{})
	exp, err := otlptracegrpc.New(ctx)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exp), sdktrace.WithResource(resource.Default()))
	_, span := tp.Tracer("demo").Start(ctx, "work of the child")
	span.End()
	if err := tp.Shutdown(ctx); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
