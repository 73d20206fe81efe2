package openvino

import (
	"strings"
	"testing"
)

const irText = `<?xml version="1.0"?>
<net name="g" version="11">
	<layers>
		<layer id="0" name="Add_3" type="Parameter" version="opset1">
			<output>
				<port id="0" precision="FP32" names="x">
				</port>
			</output>
		</layer>
		<layer id="1" name="Constant_99" type="Const" version="opset1">
			<data element_type="i8" shape="4" offset="8" size="4" />
			<output>
				<port id="0" precision="I8" />
			</output>
		</layer>
		<layer id="2" name="Add_3" type="Add" version="opset1" />
		<layer id="3" name="TensorIterator_100" type="TensorIterator" version="opset1">
			<body>
				<layers>
					<layer id="0" name="Constant_101_compressed" type="Const" version="opset1">
						<data element_type="f32" shape="2" offset="16" size="8" />
					</layer>
					<layer id="1" name="Constant_102" type="Const" version="opset1">
						<data element_type="f32" shape="2" offset="16" size="8" />
					</layer>
				</layers>
			</body>
		</layer>
		<layer id="4" name="Constant_0" type="Add" version="opset1">
			<output>
				<port id="2" precision="FP32" names="y" />
			</output>
		</layer>
	</layers>
</net>
`

func TestSettled(t *testing.T) {
	d, err := parseIR([]byte(irText))
	if err != nil {
		t.Fatal(err)
	}
	if d.end != 24 || d.weights["i8"] != 4 || d.weights["f32"] != 8 || d.operations["Const"] != 3 || d.operations["Add"] != 2 {
		t.Errorf("%+v", d)
	}
	given := func(s string) bool { return s == "Add_3" || s == "Constant_0" }
	out, changed := d.settled(given)
	var names []string
	for line := range strings.Lines(string(out)) {
		if name, _, _ := attribute([]byte(line), "name"); strings.Contains(line, "<layer ") {
			names = append(names, string(name))
		}
	}
	// Add_3 is the model's where it makes a tensor of the model's, and OpenVINO's elsewhere.
	if got := strings.Join(names, " "); !changed || got != "Add_3 Constant_1 Add_0 TensorIterator_0 Constant_2_compressed Constant_3 Constant_0" {
		t.Error(got)
	}
	moved := strings.NewReplacer("Constant_99", "Constant_1099", "TensorIterator_100", "TensorIterator_1100", "Constant_101_", "Constant_1101_", "Constant_102", "Constant_1102").Replace(irText)
	if d, err = parseIR([]byte(moved)); err != nil {
		t.Fatal(err)
	}
	if again, _ := d.settled(given); string(again) != string(out) {
		t.Errorf("another state of the counter gives\n%s", again)
	}
	for name, text := range map[string]string{
		"cut": irText[:len(irText)/2], "empty": "", "no layer": "</layer>\n</net>", "no number": strings.Replace(irText, `offset="8"`, `offset="x"`, 1),
		"negative": strings.Replace(irText, `size="4"`, `size="-4"`, 1), "huge": strings.Replace(irText, `size="4"`, `size="9223372036854775807"`, 1),
	} {
		if _, err := parseIR([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
