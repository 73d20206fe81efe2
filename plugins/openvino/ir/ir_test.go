package ir

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// small is a convolution with quantized data and packed weights, a product with a weight of two names, and two outputs.
const small = `<?xml version="1.0"?>
<net name="small" version="11">
	<layers>
		<layer id="0" name="image" type="Parameter" version="opset1">
			<data shape="?,3,8,8" element_type="f32" />
			<output><port id="0" precision="FP32" names="image"><dim>-1</dim><dim>3</dim><dim>8</dim><dim>8</dim></port></output>
		</layer>
		<layer id="1" name="w" type="Const" version="opset1">
			<data element_type="i8" shape="4, 3, 3, 3" offset="0" size="108" />
			<output><port id="0" precision="I8"><dim>4</dim><dim>3</dim><dim>3</dim><dim>3</dim></port></output>
		</layer>
		<layer id="2" name="w/convert" type="Convert" version="opset1">
			<data destination_type="f32" />
			<input><port id="0" precision="I8" /></input>
			<output><port id="1" precision="FP32"><dim>4</dim><dim>3</dim><dim>3</dim><dim>3</dim></port></output>
		</layer>
		<layer id="3" name="w/scale" type="Const" version="opset1">
			<data element_type="f32" shape="4, 1, 1, 1" offset="128" size="16" />
			<output><port id="0" precision="FP32" /></output>
		</layer>
		<layer id="4" name="w/unpacked" type="Multiply" version="opset1">
			<input><port id="0" /><port id="1" /></input>
			<output><port id="2" precision="FP32"><dim>4</dim><dim>3</dim><dim>3</dim><dim>3</dim></port></output>
		</layer>
		<layer id="5" name="low" type="Const"><data element_type="f32" shape="" offset="144" size="4" /><output><port id="0" /></output></layer>
		<layer id="6" name="image/fq" type="FakeQuantize" version="opset1">
			<data levels="256" auto_broadcast="numpy" />
			<input><port id="0" /><port id="1" /><port id="2" /><port id="3" /><port id="4" /></input>
			<output><port id="5" precision="FP32"><dim>-1</dim><dim>3</dim><dim>8</dim><dim>8</dim></port></output>
		</layer>
		<layer id="7" name="conv" type="Convolution" version="opset1">
			<data strides="1, 1" />
			<input>
				<port id="0" precision="FP32"><dim>-1</dim><dim>3</dim><dim>8</dim><dim>8</dim></port>
				<port id="1" precision="FP32"><dim>4</dim><dim>3</dim><dim>3</dim><dim>3</dim></port>
			</input>
			<output><port id="2" precision="FP32" names="/relu,maps,odd\,name"><dim>-1</dim><dim>4</dim><dim>6</dim><dim>6</dim></port></output>
		</layer>
		<layer id="8" name="flat" type="Const"><data element_type="i64" shape="2" offset="152" size="16" /><output><port id="0" /></output></layer>
		<layer id="9" name="reshape" type="Reshape">
			<input><port id="0" /><port id="1" /></input>
			<output><port id="2" precision="FP32"><dim>-1</dim><dim>144</dim></port></output>
		</layer>
		<layer id="10" name="fc" type="Const"><data element_type="f32" shape="10, 144" offset="192" size="5760" /><output><port id="0" /></output></layer>
		<layer id="11" name="product" type="MatMul">
			<data transpose_a="false" transpose_b="true" />
			<input>
				<port id="0" precision="FP32"><dim>-1</dim><dim>144</dim></port>
				<port id="1" precision="FP32"><dim>10</dim><dim>144</dim></port>
			</input>
			<output><port id="2" precision="FP32" names="logits"><dim>-1</dim><dim>10</dim></port></output>
		</layer>
		<layer id="12" name="maps/sink_port_0" type="Result"><input><port id="0" precision="FP32" /></input></layer>
		<layer id="13" name="logits/sink_port_0" type="Result" output_names="logits"><input><port id="0" precision="FP32" /></input></layer>
	</layers>
	<edges>
		<edge from-layer="0" from-port="0" to-layer="6" to-port="0" />
		<edge from-layer="1" from-port="0" to-layer="2" to-port="0" />
		<edge from-layer="2" from-port="1" to-layer="4" to-port="0" />
		<edge from-layer="3" from-port="0" to-layer="4" to-port="1" />
		<edge from-layer="5" from-port="0" to-layer="6" to-port="1" />
		<edge from-layer="5" from-port="0" to-layer="6" to-port="4" />
		<edge from-layer="6" from-port="5" to-layer="7" to-port="0" />
		<edge from-layer="4" from-port="2" to-layer="7" to-port="1" />
		<edge from-layer="7" from-port="2" to-layer="9" to-port="0" />
		<edge from-layer="8" from-port="0" to-layer="9" to-port="1" />
		<edge from-layer="9" from-port="2" to-layer="11" to-port="0" />
		<edge from-layer="10" from-port="0" to-layer="11" to-port="1" />
		<edge from-layer="7" from-port="2" to-layer="12" to-port="0" />
		<edge from-layer="11" from-port="2" to-layer="13" to-port="0" />
	</edges>
	<rt_info><info name="OpenVINO Runtime" value="2026.4.1-1-x" /></rt_info>
</net>`

func TestRead(t *testing.T) {
	n, err := Read(strings.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if n.Version != 11 || n.Writer() != "2026.4.1-1-x" {
		t.Error(n.Version, n.Notes)
	}
	if in := n.Inputs(); !reflect.DeepEqual(in, []Value{{[]string{"image"}, "f32", []int64{-1, 3, 8, 8}}}) {
		t.Errorf("%+v", in)
	}
	if out := n.Outputs(); !reflect.DeepEqual(out, []Value{{[]string{"maps", "/relu", "odd,name"}, "f32", []int64{-1, 4, 6, 6}}, {[]string{"logits"}, "f32", []int64{-1, 10}}}) {
		t.Errorf("%+v", out)
	}
	c := n.Count()
	if c.Parameters != 108+1440 || c.MACs != 4*36*27+1440 || !c.Quantized {
		t.Errorf("%+v", c)
	}
	if !maps.Equal(c.Weights, map[string]int64{"i8": 108, "f32": 16 + 4 + 5760, "i64": 16}) ||
		!maps.Equal(c.Ops, map[string]int{"Convert": 1, "Multiply": 1, "FakeQuantize": 1, "Convolution": 1, "Reshape": 1, "MatMul": 1}) {
		t.Errorf("%+v", c)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":     {"", "it is empty"},
		"no xml":      {"\x7fELF\x00\x01", "it is no IR"},
		"cut short":   {small[:len(small)/2], "it is no IR"},
		"other xml":   {"<model/>", "first element is <model>"},
		"two layers":  {strings.Replace(small, `id="3" name="w/scale"`, `id="1" name="w/scale"`, 1), "two layers have the number 1"},
		"loose edge":  {strings.Replace(small, `to-layer="13"`, `to-layer="99"`, 1), "layer 99"},
		"no number":   {strings.Replace(small, `id="3" name="w/scale"`, `id="x" name="w/scale"`, 1), "it is no IR"},
		"deep nested": {strings.Repeat("<net><layers><layer><body>", 20000), "it is no IR"},
	} {
		if _, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	says := func(path, want string) {
		t.Helper()
		if _, _, err := Files(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	says(dir, "holds no file that ends in .xml")
	says(filepath.Join(dir, "none.xml"), "no such file")
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("m.xml")
	for _, p := range []string{dir, filepath.Join(dir, "m.xml")} {
		if text, weights, err := Files(p); err != nil || text != filepath.Join(dir, "m.xml") || weights != filepath.Join(dir, "m.bin") {
			t.Error(text, weights, err)
		}
	}
	write("n.xml")
	says(dir, "more than one model, m.xml and n.xml")
}

// TestCountTwisted: numbers that overflow and shapes that are none are no harm.
func TestCountTwisted(t *testing.T) {
	for _, s := range []string{
		strings.ReplaceAll(small, "<dim>8</dim>", "<dim>9223372036854775807</dim>"),
		strings.ReplaceAll(small, `shape="10, 144"`, `shape="9223372036854775807, 9223372036854775807"`),
		strings.ReplaceAll(small, `shape="10, 144"`, `shape="-3, x"`),
		strings.ReplaceAll(small, `size="5760"`, `size="-7"`),
		strings.ReplaceAll(small, `<dim>144</dim>`, ``),
	} {
		n, err := Read(strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		if c := n.Count(); c.Parameters < 0 || c.MACs < 0 || c.Weights["f32"] < 0 {
			t.Errorf("%+v", c)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(small))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Read(strings.NewReader(string(b)))
		if err != nil {
			return
		}
		n.Inputs()
		n.Outputs()
		if c := n.Count(); c.Parameters < 0 || c.MACs < 0 {
			t.Errorf("%+v", c)
		}
	})
}
