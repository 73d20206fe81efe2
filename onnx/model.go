package onnx

import (
	"slices"
)

// Model is a ModelProto.
type Model struct {
	IRVersion       int64
	Opsets          []Opset
	ProducerName    string
	ProducerVersion string
	Domain          string
	ModelVersion    int64
	DocString       string
	Graph           *Graph
	Metadata        []StringPair
	// Functions are the model's FunctionProto messages, not decoded.
	Functions [][]byte

	unknown []byte       // fields this package does not know, and training_info
	raw     []byte       // the message it was read from; nil: made in memory
	mapped  []mappedFile // the files that MapFile mapped
}

// Opset is the version of an operator set that a model imports.
type Opset struct {
	Domain  string // "" and "ai.onnx" are the same
	Version int64

	unknown []byte
}

// StringPair is an entry of a map of strings (StringStringEntryProto).
type StringPair struct {
	Key, Value string

	unknown string
}

// DefaultDomain is the standard operators' domain; "ai.onnx" is another name of it.
const DefaultDomain = ""

// NewModel returns a model of IR version 8 with an empty graph and the given
// version of the standard operators.
func NewModel(graph string, opset int64) *Model {
	m := &Model{IRVersion: max(8, irForOpset(opset)), ProducerName: "optimize", Graph: NewGraph(graph)}
	m.SetOpset(DefaultDomain, opset)
	return m
}

// Opset returns the imported version of a domain's operators, 0 when the model
// does not import it. "" and "ai.onnx" are the same domain.
func (m *Model) Opset(domain string) int64 {
	for i := range m.Opsets {
		if sameDomain(m.Opsets[i].Domain, domain) {
			return m.Opsets[i].Version
		}
	}
	return 0
}

// SetOpset imports a version of a domain's operators. It converts no node:
// UpgradeOpset does. An import added to a model that has some goes last.
func (m *Model) SetOpset(domain string, version int64) {
	for i := range m.Opsets {
		if sameDomain(m.Opsets[i].Domain, domain) {
			m.Opsets[i].Version = version
			return
		}
	}
	m.Opsets = append(m.Opsets, Opset{Domain: domain, Version: version})
}

// MetadataValue returns the value of a metadata_props entry.
func (m *Model) MetadataValue(key string) (string, bool) {
	i := slices.IndexFunc(m.Metadata, func(p StringPair) bool { return p.Key == key })
	if i < 0 {
		return "", false
	}
	return m.Metadata[i].Value, true
}

// SetMetadata sets a metadata_props entry, appending it when it is new.
func (m *Model) SetMetadata(key, value string) {
	for i := range m.Metadata {
		if m.Metadata[i].Key == key {
			m.Metadata[i].Value = value
			return
		}
	}
	m.Metadata = append(m.Metadata, StringPair{Key: key, Value: value})
}

// RaiseIR sets the IR version to at least v. Up to IR 3 every initializer had to
// be a graph input too; from IR 4 on that would make it a default that a caller
// may override, so those inputs are dropped when the step from 3 to 4 is taken.
func (m *Model) RaiseIR(v int64) {
	if m.IRVersion >= v {
		return
	}
	if m.IRVersion < 4 && v >= 4 && m.Graph != nil {
		m.Graph.dropInitializedInputs()
	}
	m.IRVersion = v
}

// irForOpset is the IR version that came with a version of the standard operators:
// a runtime that knows the operators can read it.
func irForOpset(opset int64) int64 {
	switch {
	case opset <= 8:
		return 3
	case opset <= 9:
		return 4
	case opset <= 10:
		return 5
	case opset <= 11:
		return 6
	case opset <= 14:
		return 7
	case opset <= 18:
		return 8
	case opset <= 20:
		return 9
	case opset <= 22:
		return 10
	case opset <= 23:
		return 11
	case opset <= 24:
		return 12
	case opset <= 25:
		return 13
	}
	return 14
}

func sameDomain(a, b string) bool { return canonicalDomain(a) == canonicalDomain(b) }

func canonicalDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}
