package mil

import (
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Detector makes a model a pipeline: the program, whose two outputs are boxes and the confidence of each class for each, and
// behind it Core ML's own non-maximum suppression (NonMaximumSuppression.proto), which gives those boxes that count.
type Detector struct {
	// Confidence and Coordinates name the program's outputs: fp32 [boxes, classes] and [boxes, 4], where a box is the x and y of
	// its middle, its width and its height, each as a share of the picture's.
	Confidence, Coordinates string
	Labels                  []string
	// IoU is the overlap from which on the less confident of two boxes goes, Least the confidence that a box needs.
	IoU, Least float64
	// PerClass lets boxes suppress only those of their own class.
	PerClass bool
}

// What an application gives and takes of a detector beside its picture.
const (
	confidenceName  = "confidence"
	coordinatesName = "coordinates"
	iouName         = "iouThreshold"
	leastName       = "confidenceThreshold"
)

// DetectorOutputs are the names of what a detector gives.
func DetectorOutputs() []string { return []string{confidenceName, coordinatesName} }

func (m *message) double(field protowire.Number, v float64) {
	*m = protowire.AppendFixed64(protowire.AppendTag(*m, field, protowire.Fixed64Type), math.Float64bits(v))
}

// pipeline writes the specification of a pipeline.
func (m *Model) pipeline() []byte {
	d := m.Detector
	program := *m
	program.Detector, program.Metadata = nil, Metadata{}
	var out message
	out.number(1, uint64(m.SpecVersion()))
	out.sub(2, func(x *message) {
		for _, f := range m.Inputs {
			x.sub(1, f.encode)
		}
		for _, t := range []struct {
			name, doc string
			value     float64
		}{{iouName, "Overlap from which on the less confident of two boxes goes", d.IoU}, {leastName, "Confidence that a box needs", d.Least}} {
			x.sub(1, func(f *message) {
				f.text(1, t.name)
				f.text(2, fmt.Sprintf("%s (optional; %g when left out)", t.doc, t.value))
				f.sub(3, func(t *message) {
					t.sub(2, func(*message) {}) // a double
					t.number(1000, 1)           // optional
				})
			})
		}
		d.results(x, m)
		m.metadata(x)
	})
	out.sub(202, func(p *message) {
		p.bytes(1, program.Marshal())
		p.sub(1, func(x *message) { d.suppression(x, m) })
		p.text(2, "detector")
		p.text(2, "suppression")
	})
	return out
}

// results describes what the suppression gives: any number of boxes.
func (d *Detector) results(x *message, m *Model) {
	for _, f := range []struct {
		name, doc string
		width     int64
	}{{confidenceName, "Boxes by the confidence of each class", int64(len(d.Labels))}, {coordinatesName, "Boxes by x and y of the middle, width and height, as shares of the picture", 4}} {
		x.sub(10, func(b *message) {
			b.text(1, f.name)
			b.text(2, f.doc)
			b.sub(3, func(t *message) {
				t.sub(5, func(a *message) {
					a.number(2, featureTypes[Float32])
					a.sub(31, func(r *message) {
						sizeRange(r, 1, 0, -1)
						sizeRange(r, 1, f.width, f.width)
					})
				})
			})
		})
	}
}

// suppression writes the second model of the pipeline.
func (d *Detector) suppression(x *message, m *Model) {
	x.number(1, uint64(m.SpecVersion()))
	x.sub(2, func(b *message) {
		for _, name := range []string{d.Confidence, d.Coordinates} {
			for _, f := range m.Outputs {
				if f.Name == name {
					b.sub(1, f.encode)
				}
			}
		}
		d.results(b, m)
	})
	x.sub(610, func(n *message) {
		n.sub(1, func(p *message) {
			if d.PerClass {
				p.number(1, 1)
			}
		})
		n.sub(100, func(v *message) {
			for _, l := range d.Labels {
				v.text(1, l)
			}
		})
		n.double(110, d.IoU)
		n.double(111, d.Least)
		n.text(200, d.Confidence)
		n.text(201, d.Coordinates)
		n.text(202, iouName)
		n.text(203, leastName)
		n.text(210, confidenceName)
		n.text(211, coordinatesName)
	})
}

// readPipeline reads a pipeline of a program and a suppression.
func (d *decoder) readPipeline(b []byte, m *Model) error {
	return d.fields(b, func(f field) error {
		if f.num != 1 {
			return nil // names of the models
		}
		kind := protowire.Number(0)
		var body []byte
		err := d.fields(f.bytes, func(f field) error {
			if f.num == 502 || f.num == 610 {
				kind, body = f.num, f.bytes
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case kind == 610:
			m.Detector = &Detector{}
			return d.readSuppression(body, m.Detector)
		case kind != 502:
			return fmt.Errorf("a pipeline holds a model that is neither an ML Program nor non-maximum suppression")
		}
		inner, odd, err := Unmarshal(f.bytes)
		if err != nil {
			return err
		}
		d.odd = append(d.odd, odd...)
		inner.Detector = m.Detector
		*m = *inner
		return nil
	})
}

// pipelineDescription takes the metadata of a pipeline's own description, and checks that it gives the program's inputs.
func (d *decoder) pipelineDescription(b []byte, m *Model) error {
	var top Model
	if err := d.description(b, &top); err != nil {
		return err
	}
	m.Metadata = top.Metadata
	for _, in := range m.Inputs {
		if !slices.ContainsFunc(top.Inputs, func(f Feature) bool { return f.Name == in.Name }) {
			d.oddf("the pipeline has no input %s", in.Name)
		}
	}
	for _, name := range DetectorOutputs() {
		if !slices.ContainsFunc(top.Outputs, func(f Feature) bool { return f.Name == name }) {
			d.oddf("the pipeline has no output %s", name)
		}
	}
	return nil
}

func (d *decoder) readSuppression(b []byte, n *Detector) error {
	return d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			return d.fields(f.bytes, func(f field) error {
				n.PerClass = f.n != 0
				return nil
			})
		case 100:
			return d.fields(f.bytes, func(f field) error {
				n.Labels = append(n.Labels, string(f.bytes))
				return nil
			})
		case 110:
			n.IoU = math.Float64frombits(f.n)
		case 111:
			n.Least = math.Float64frombits(f.n)
		case 200:
			n.Confidence = string(f.bytes)
		case 201:
			n.Coordinates = string(f.bytes)
		}
		return nil
	})
}

// detector checks that the program gives what the suppression takes.
func (l *linter) detector() {
	d := l.m.Detector
	for name, width := range map[string]int64{d.Confidence: int64(len(d.Labels)), d.Coordinates: 4} {
		where := "the detector's " + name
		i := slices.IndexFunc(l.m.Outputs, func(f Feature) bool { return f.Name == name })
		if i < 0 {
			l.failf(where, "the program has no such output")
			continue
		}
		if t := l.m.Outputs[i].Type; t.DataType != Float32 || len(t.Shape) != 2 || t.Shape[1] != width {
			l.failf(where, "it is %s, and fp32 [boxes %d] is needed", t, width)
		}
	}
	if len(d.Labels) == 0 || !(d.IoU >= 0 && d.IoU <= 1) || !(d.Least >= 0 && d.Least <= 1) {
		l.failf("", "the detector has %d labels, an overlap of %g and a confidence of %g", len(d.Labels), d.IoU, d.Least)
	}
	if len(l.m.States) > 0 || l.m.Label != "" {
		l.failf("", "a detector has no states, and is no classifier")
	}
}
