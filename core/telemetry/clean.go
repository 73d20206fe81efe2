package telemetry

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// clean takes what is sensitive out of the texts of m: values of attributes, bodies of logs, messages of errors, names of
// spans and events. A plugin's libraries quote arguments there as they like.
func clean(m proto.Message, redact func(string) string) {
	if redact != nil {
		cleanMessage(m.ProtoReflect(), redact)
	}
}

func cleanMessage(m protoreflect.Message, redact func(string) string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				cleanMessage(v.List().Get(i).Message(), redact)
			}
		case f.IsList(), f.IsMap(): // OTLP has no texts there
		case f.Message() != nil:
			cleanMessage(v.Message(), redact)
		case f.Kind() == protoreflect.StringKind && telling(m.Descriptor().Name(), f.Name()):
			if s := redact(v.String()); s != v.String() {
				m.Set(f, protoreflect.ValueOfString(s))
			}
		}
		return true
	})
}

// telling tells the texts that say what happened from those that name kinds of things.
func telling(message, field protoreflect.Name) bool {
	switch field {
	case "string_value", "message":
		return true
	case "name":
		return message == "Span" || message == "Event"
	}
	return false
}
