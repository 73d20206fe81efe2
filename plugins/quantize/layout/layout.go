// Package layout describes how a model is lowered to integers: which nodes stay in float and in which form the others
// are written. A search finds a layout by timing; with the layout given, lowering is deterministic.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Schema is the version of the format.
const Schema = "optimize.layout/v1"

// Kind and Format are those of the artifact.
const (
	Kind   = "layout"
	Format = "optimize-layout"
)

// Layout is the choice. The zero value is the plain lowering of the target's rules.
type Layout struct {
	Schema string `json:"schema"`
	// Target is the row of the rules that it was made for.
	Target string `json:"target"`
	// Float leaves the whole model in float: integers lost.
	Float bool `json:"float"`
	// Rewrite does the exact rewrites of package onnx/rewrite first.
	Rewrite bool `json:"rewrite"`
	// FloatConvs is how many convolutions stay in float, the first in graph order.
	FloatConvs int `json:"float_convs"`
	// FloatOps are operators that stay in float, sorted.
	FloatOps []string `json:"float_ops"`
	// FloatNodes are the names of nodes that stay in float, sorted; a node without a name goes by its first output.
	FloatNodes []string `json:"float_nodes"`
	// Dynamic gives MatMul and Gemm a scale at run time.
	Dynamic bool `json:"dynamic"`
	// StaticNodes are products, by name and sorted, that keep a scale from calibration although Dynamic is set.
	StaticNodes []string `json:"static_nodes"`
	// OnlyDynamic quantizes nothing else: no data decide about it.
	OnlyDynamic bool `json:"only_dynamic"`
	// Recurrent gives LSTM integer weights; its input and state get a scale at run time.
	Recurrent bool `json:"recurrent"`
	// GateTable computes HardSigmoid by a table of 256 entries on integers: a saturating change of scale.
	GateTable bool `json:"gate_table"`
	// Tables stores the tables that rows are looked up in with 8 bits an entry and a scale a row.
	Tables bool `json:"tables"`
	// Stem has convolutions of stride 2 that read a few channels read squares of 2x2 pixels as channels.
	Stem bool `json:"stem"`
	// Absorb moves the addition of a number into the scales around it.
	Absorb bool `json:"absorb"`
}

// maxFile bounds what is read as a layout; the largest model of the fixtures has 5,000 nodes.
const maxFile = 16 << 20

// Name says in a few words what the layout does.
func (l Layout) Name() string {
	if l.Float {
		if l.Rewrite {
			return "float, rewritten"
		}
		return "float"
	}
	var parts []string
	switch {
	case l.OnlyDynamic:
		parts = append(parts, "dynamic")
	case l.Dynamic && len(l.StaticNodes) > 0:
		parts = append(parts, "static, products dynamic but "+some(l.StaticNodes))
	case l.Dynamic:
		parts = append(parts, "static, products dynamic")
	default:
		parts = append(parts, "static")
	}
	if l.Recurrent {
		parts = append(parts, "LSTM dynamic")
	}
	if l.Stem {
		parts = append(parts, "2x2 pixels as channels")
	}
	if l.GateTable {
		parts = append(parts, "gates by table")
	}
	if l.Absorb {
		parts = append(parts, "additions absorbed")
	}
	if l.Tables {
		parts = append(parts, "tables of 8 bits")
	}
	switch l.FloatConvs {
	case 0:
	case 1:
		parts = append(parts, "first Conv float")
	default:
		parts = append(parts, fmt.Sprintf("first %d Conv float", l.FloatConvs))
	}
	if len(l.FloatOps) > 0 {
		parts = append(parts, strings.Join(l.FloatOps, ", ")+" float")
	}
	if len(l.FloatNodes) > 0 {
		parts = append(parts, some(l.FloatNodes)+" float")
	}
	if !l.Rewrite {
		parts = append(parts, "graph as it is")
	}
	return strings.Join(parts, ", ")
}

// some names the first of several nodes.
func some(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}

// Plain tells whether the layout is that of the target's rules, without anything that a search may add but the exact
// rewrites.
func (l Layout) Plain() bool { return l.Equal(Layout{Target: l.Target, Rewrite: l.Rewrite}) }

// Equal tells whether two layouts lower alike.
func (l Layout) Equal(o Layout) bool {
	a, b := l.normal(), o.normal()
	return a.Target == b.Target && a.Float == b.Float && a.Rewrite == b.Rewrite && a.FloatConvs == b.FloatConvs &&
		a.Dynamic == b.Dynamic && a.OnlyDynamic == b.OnlyDynamic && a.GateTable == b.GateTable && a.Tables == b.Tables && a.Absorb == b.Absorb && a.Recurrent == b.Recurrent && a.Stem == b.Stem &&
		slices.Equal(a.FloatOps, b.FloatOps) && slices.Equal(a.FloatNodes, b.FloatNodes) && slices.Equal(a.StaticNodes, b.StaticNodes)
}

// normal sorts the lists and makes nil ones empty, so that equal layouts have equal bytes.
func (l Layout) normal() Layout {
	l.Schema = Schema
	for _, list := range []*[]string{&l.FloatOps, &l.FloatNodes, &l.StaticNodes} {
		s := append([]string{}, *list...)
		slices.Sort(s)
		*list = slices.Compact(s)
	}
	return l
}

// Marshal writes the layout as JSON. Equal layouts give equal bytes.
func (l Layout) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(l.normal(), "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// Parse reads what Marshal wrote. It refuses another version, unknown fields and contradictions.
func Parse(b []byte) (Layout, error) {
	var l Layout
	if len(b) > maxFile {
		return l, fmt.Errorf("it has %d bytes, more than any layout", len(b))
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return l, fmt.Errorf("it is no JSON of a layout: %w", err)
	}
	if head.Schema != Schema {
		return l, fmt.Errorf("its schema is %q, not %q", head.Schema, Schema)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return Layout{}, fmt.Errorf("it is no layout of %s: %w", Schema, err)
	}
	l = l.normal()
	switch {
	case l.Target == "":
		return Layout{}, errors.New("it names no target")
	case l.FloatConvs < 0:
		return Layout{}, fmt.Errorf("float_convs is %d", l.FloatConvs)
	case l.Float && (l.Dynamic || l.OnlyDynamic || l.GateTable || l.Tables || l.Absorb || l.Recurrent || l.Stem || l.FloatConvs > 0 || len(l.FloatOps)+len(l.FloatNodes)+len(l.StaticNodes) > 0):
		return Layout{}, errors.New("it leaves the whole model in float and quantizes parts of it")
	case l.OnlyDynamic && (!l.Dynamic || l.GateTable || l.Absorb || len(l.StaticNodes) > 0):
		return Layout{}, errors.New("it quantizes dynamically only, and also statically")
	case !l.Dynamic && len(l.StaticNodes) > 0:
		return Layout{}, errors.New("it names products that are static where all are")
	case slices.Contains(l.FloatOps, "") || slices.Contains(l.FloatNodes, ""):
		return Layout{}, errors.New("it keeps something without a name in float")
	case slices.Contains(l.StaticNodes, ""):
		return Layout{}, errors.New("it names a static product that has no name")
	}
	return l, nil
}

// ReadFile reads a layout.
func ReadFile(path string) (l Layout, err error) {
	f, err := os.Open(path)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return l, err
	}
	return Parse(b)
}
