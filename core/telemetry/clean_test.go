package telemetry

import (
	"strings"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func TestClean(t *testing.T) {
	text := func(s string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
	}
	list := &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{text("a hush")}}}}
	span := &tracepb.Span{Name: "load hush", TraceId: []byte("0123456789abcdef"), Status: &tracepb.Status{Message: "hush is wrong"},
		Attributes: []*commonpb.KeyValue{{Key: "hush", Value: text("hush")}, {Key: "list", Value: list}},
		Events:     []*tracepb.Span_Event{{Name: "exception", Attributes: []*commonpb.KeyValue{{Key: "m", Value: text("oh hush")}}}}}
	r := &coltrace.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{
		Scope: &commonpb.InstrumentationScope{Name: "hush"}, Spans: []*tracepb.Span{span}}}}}}
	before := proto.CloneOf(r)
	clean(r, nil)
	if !proto.Equal(before, r) {
		t.Error("it was changed although nothing is sensitive")
	}
	clean(r, func(s string) string { return strings.ReplaceAll(s, "hush", "***") })
	// The key and the scope name kinds of things.
	if n := strings.Count(r.String(), "hush"); n != 2 {
		t.Errorf("%d are left, want 2: %s", n, r)
	}
	if span.GetStatus().GetMessage() != "*** is wrong" || span.GetName() != "load ***" {
		t.Error(span)
	}
}
