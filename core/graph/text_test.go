package graph

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// make builds a graph of lines "name: needs needs"; a type stands in brackets after the name.
func build(text string) *Graph {
	g := New("recipe.hcl")
	for l := range strings.Lines(text) {
		head, deps, _ := strings.Cut(strings.TrimSpace(l), ":")
		if head == "" {
			continue
		}
		id, typ, _ := strings.Cut(head, "(")
		kind, _, _ := strings.Cut(id, ".")
		g.Add(Node{ID: strings.TrimSpace(id), Kind: kind, Type: strings.TrimSuffix(typ, ")")}, strings.Fields(deps))
	}
	return g
}

const digits = `
model.digits
dataset.train
dataset.test
step.int8(quantize_static): dataset.train model.digits
evaluate.digits: dataset.test model.digits step.int8
output.model: evaluate.digits step.int8
`

const diamond = "a\nb: a\nc: a\nd: b c\n"

func forEach(n int) string {
	var b strings.Builder
	b.WriteString("model.m\ndataset.d\n")
	var all []string
	for i := range n {
		fmt.Fprintf(&b, "step.q[%q](quantize_static): model.m dataset.d\n", fmt.Sprint("k", i))
		all = append(all, fmt.Sprintf("step.q[%q]", fmt.Sprint("k", i)))
	}
	fmt.Fprintf(&b, "evaluate.e: model.m dataset.d %s\n", strings.Join(all, " "))
	return b.String()
}

func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "step.link%d", i)
		if i > 0 {
			fmt.Fprintf(&b, ": step.link%d", i-1)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// sixty is a recipe of ten models, each pruned, quantized in two ways and measured, and one summary.
func sixty() string {
	var b strings.Builder
	var all []string
	for i := range 10 {
		fmt.Fprintf(&b, "model.m%d\nstep.p%d(prune_channels): model.m%d\nstep.a%d(quantize_static): step.p%d\nstep.b%d(quantize_dynamic): step.p%d\n", i, i, i, i, i, i, i)
		fmt.Fprintf(&b, "evaluate.e%d: model.m%d step.a%d step.b%d\n", i, i, i, i)
		fmt.Fprintf(&b, "output.o%d: evaluate.e%d step.a%d\n", i, i, i)
		all = append(all, fmt.Sprintf("step.a%d", i))
	}
	fmt.Fprintf(&b, "evaluate.all: %s\n", strings.Join(all, " "))
	return b.String()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs, got:\n%s", name, got)
	}
}

var pictures = map[string]struct {
	graph string
	o     []Options
}{
	"digits":   {digits, []Options{{Width: 100}, {Width: 100, ASCII: true}, {Width: 60}, {Width: 30}, {Width: 12}}},
	"diamond":  {diamond, []Options{{Width: 100}, {Width: 16}}},
	"foreach":  {forEach(5), []Options{{Width: 100}, {Width: 50}}},
	"parts":    {diamond + "x\ny: x\nalone\nlonely\nsolitary-and-long\n", []Options{{Width: 40}}},
	"chain":    {chain(12), []Options{{Width: 100}, {Width: 14}}},
	"sixty":    {sixty(), []Options{{Width: 120}}},
	"complete": {"a\nb\nc\nx: a b c\ny: a b c\nz: a b c\n", []Options{{Width: 80}, {Width: 80, ASCII: true}}},
	"long":     {"a\nb: a\nc: b\nd: c\ne: a b d\n", []Options{{Width: 80}, {Width: 20}}},
	"wide":     {"model.漢字\nstep.👩‍👩‍👧(größe): model.漢字\n", []Options{{Width: 80}}},
}

func TestPictures(t *testing.T) {
	for name, p := range pictures {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			for _, o := range p.o {
				fmt.Fprintf(&b, "-- width %d, ascii %v --\n%s", o.Width, o.ASCII, build(p.graph).Text(o))
			}
			golden(t, name+".txt", b.Bytes())
		})
	}
}
