// Package ir reads the text of OpenVINO's intermediate representation, the .xml beside which the weights lie in a .bin: of
// a model, and of the graph that a device runs, which OpenVINO writes in the same form. It needs no library.
package ir

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Net is a graph. (https://docs.openvino.ai/2026/documentation/openvino-ir-format.html)
type Net struct {
	Name string `xml:"name,attr"`
	// Version is of the format: 11.
	Version int     `xml:"version,attr"`
	Layers  []Layer `xml:"layers>layer"`
	Edges   []Edge  `xml:"edges>edge"`
	// Notes are what the writer says beside the graph, such as its version.
	Notes []Note `xml:"rt_info>info"`
}

// Note is a line of a model's notes.
type Note struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// Writer is the OpenVINO that wrote the model, as "2026.4.1-22982-..."; empty where the file does not say.
func (n *Net) Writer() string {
	for _, note := range n.Notes {
		if note.Name == "OpenVINO Runtime" || note.Name == "Runtime_version" {
			return note.Value
		}
	}
	return ""
}

// Layer is a node.
type Layer struct {
	ID   int    `xml:"id,attr"`
	Name string `xml:"name,attr"`
	Type string `xml:"type,attr"`
	// Results are the names of the tensor that a Result gives, with commas.
	Results string     `xml:"output_names,attr"`
	Data    Attributes `xml:"data"`
	Inputs  []Port     `xml:"input>port"`
	Outputs []Port     `xml:"output>port"`
	// Bodies are the graphs inside a loop or a choice.
	Body *Net `xml:"body"`
	Then *Net `xml:"then_body"`
	Else *Net `xml:"else_body"`
}

// Attributes are what a layer says about its work: strides, an element type, a kernel.
type Attributes map[string]string

// UnmarshalXML takes all attributes of the element.
func (a *Attributes) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	*a = Attributes{}
	for _, x := range start.Attr {
		(*a)[x.Name.Local] = x.Value
	}
	return d.Skip()
}

// Port is a place where an edge ends.
type Port struct {
	ID        int    `xml:"id,attr"`
	Precision string `xml:"precision,attr"` // "FP32"
	// Names are those of the tensor, with commas between; a comma in a name follows a backslash.
	Names string   `xml:"names,attr"`
	Dims  []string `xml:"dim"`
}

// Edge leads from an output to an input.
type Edge struct {
	FromLayer int `xml:"from-layer,attr"`
	FromPort  int `xml:"from-port,attr"`
	ToLayer   int `xml:"to-layer,attr"`
	ToPort    int `xml:"to-port,attr"`
}

// Files returns the two files of a model: path is its .xml, or a folder with one.
func Files(path string) (text, weights string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", "", err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return "", "", err
		}
		found := ""
		for _, e := range entries {
			if e.IsDir() || !strings.EqualFold(filepath.Ext(e.Name()), ".xml") {
				continue
			}
			if found != "" {
				return "", "", fmt.Errorf("the folder %s holds more than one model, %s and %s: leave one in it", path, found, e.Name())
			}
			found = e.Name()
		}
		if found == "" {
			return "", "", fmt.Errorf("the folder %s holds no file that ends in .xml", path)
		}
		path = filepath.Join(path, found)
	} else if !info.Mode().IsRegular() {
		return "", "", fmt.Errorf("%s is not a file", path)
	}
	return path, strings.TrimSuffix(path, filepath.Ext(path)) + ".bin", nil
}

// ReadFile reads the text of a model.
func ReadFile(path string) (*Net, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// Read reads the text of a graph. Edges that lead nowhere are an error.
func Read(r io.Reader) (*Net, error) {
	var n struct {
		XMLName xml.Name
		Net
	}
	if err := xml.NewDecoder(r).Decode(&n); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, fmt.Errorf("it is no IR of OpenVINO: %w", err)
	}
	if n.XMLName.Local != "net" {
		return nil, fmt.Errorf("it is no IR of OpenVINO: its first element is <%s>, where <net> is expected", n.XMLName.Local)
	}
	if err := n.Net.check(); err != nil {
		return nil, fmt.Errorf("it is no whole IR of OpenVINO: %w", err)
	}
	return &n.Net, nil
}

func (n *Net) check() error {
	ids := map[int]bool{}
	for _, l := range n.Layers {
		if ids[l.ID] {
			return fmt.Errorf("two layers have the number %d", l.ID)
		}
		ids[l.ID] = true
		for _, b := range l.bodies() {
			if err := b.check(); err != nil {
				return err
			}
		}
	}
	for _, e := range n.Edges {
		if !ids[e.FromLayer] || !ids[e.ToLayer] {
			return fmt.Errorf("an edge leads from layer %d to layer %d, and one of them is not there", e.FromLayer, e.ToLayer)
		}
	}
	return nil
}

func (l *Layer) bodies() []*Net {
	return slices.DeleteFunc([]*Net{l.Body, l.Then, l.Else}, func(n *Net) bool { return n == nil })
}

// Value is an input or output of a model.
type Value struct {
	// Names of the tensor, the one that it has for the model's user first; empty when it has none.
	Names []string
	// Type is OpenVINO's: "f32".
	Type string
	// Shape has -1 where an axis is free; nil when not even the rank is stated.
	Shape []int64
}

// Inputs are the model's inputs, in its order.
func (n *Net) Inputs() []Value {
	var out []Value
	for _, l := range n.Layers {
		if l.Type != "Parameter" {
			continue
		}
		v := Value{Type: l.Data["element_type"]}
		if len(l.Outputs) > 0 {
			v.Names, v.Shape = leading(names(l.Outputs[0].Names), l.Name), l.Outputs[0].shape()
		}
		if s := l.Data["shape"]; s == "..." {
			v.Shape = nil
		}
		out = append(out, v)
	}
	return out
}

// Outputs are the model's outputs, in its order.
func (n *Net) Outputs() []Value {
	source := map[int]*Port{} // by the layer that reads it
	layers := n.byID()
	for _, e := range n.Edges {
		if p := port(layers[e.FromLayer].Outputs, e.FromPort); p != nil {
			source[e.ToLayer] = p
		}
	}
	var out []Value
	for _, l := range n.Layers {
		if l.Type != "Result" {
			continue
		}
		var v Value
		if p := source[l.ID]; p != nil {
			// A Result goes by the name of the output that the model had: "logits/sink_port_0".
			own := l.Results
			if own == "" {
				own, _, _ = strings.Cut(l.Name, "/sink_port_")
			}
			v = Value{Names: leading(names(p.Names), append(names(own), "")[0]), Type: typeOf(p.Precision), Shape: p.shape()}
		}
		out = append(out, v)
	}
	return out
}

func (n *Net) byID() map[int]*Layer {
	out := make(map[int]*Layer, len(n.Layers))
	for i := range n.Layers {
		out[n.Layers[i].ID] = &n.Layers[i]
	}
	return out
}

func port(ports []Port, id int) *Port {
	for i := range ports {
		if ports[i].ID == id {
			return &ports[i]
		}
	}
	return nil
}

// leading moves a name to the front of those that a tensor has, where it is among them.
func leading(all []string, first string) []string {
	if i := slices.Index(all, first); i > 0 {
		all = slices.Insert(slices.Delete(all, i, i+1), 0, first)
	}
	return all
}

// names parts a list with commas, where one in a name follows a backslash.
func names(s string) []string {
	if s == "" {
		return nil
	}
	var out []string
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == ',':
			i++
			b.WriteByte(',')
		case s[i] == ',':
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(s[i])
		}
	}
	return append(out, b.String())
}

// shape has -1 for axes that are free, or that may have several lengths: "1..8".
func (p *Port) shape() []int64 {
	out := make([]int64, len(p.Dims))
	for i, d := range p.Dims {
		v, err := strconv.ParseInt(strings.TrimSpace(d), 10, 64)
		if err != nil || v < 0 {
			v = -1
		}
		out[i] = v
	}
	return out
}

// typeOf spells an element type as elsewhere in the file: "FP32" is "f32".
func typeOf(precision string) string {
	p := strings.ToLower(precision)
	if rest, ok := strings.CutPrefix(p, "fp"); ok {
		return "f" + rest
	}
	if p == "bool" {
		return "boolean"
	}
	return p
}
