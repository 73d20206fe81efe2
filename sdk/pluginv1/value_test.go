package pluginv1

import (
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"
)

var testType = cty.Object(map[string]cty.Type{"a": cty.String, "b": cty.List(cty.Number), "c": cty.Map(cty.Bool), "d": cty.List(cty.Object(map[string]cty.Type{"e": cty.Number}))})

func testValues() []cty.Value {
	long := cty.StringVal(strings.Repeat("x", 70000))
	many := make([]cty.Value, 70000)
	for i := range many {
		many[i] = cty.NumberIntVal(int64(i) * 70001)
	}
	object := func(a, b, c, d cty.Value) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"a": a, "b": b, "c": c, "d": d})
	}
	d := testType.AttributeType("d")
	return []cty.Value{
		object(cty.StringVal("x"), cty.ListVal([]cty.Value{cty.NumberFloatVal(0.1), cty.NumberIntVal(-1), cty.MustParseNumberVal("1e400")}), cty.MapVal(map[string]cty.Value{"k": cty.True}), cty.NullVal(d)),
		object(long, cty.ListVal(many), cty.UnknownVal(cty.Map(cty.Bool)), cty.ListVal([]cty.Value{cty.ObjectVal(map[string]cty.Value{"e": cty.UnknownVal(cty.Number).RefineNotNull()})})),
		object(cty.StringVal(strings.Repeat("y", 300)), cty.ListVal(many[:300]), cty.MapValEmpty(cty.Bool), cty.ListValEmpty(d.ElementType())),
		cty.NullVal(testType), cty.UnknownVal(testType),
	}
}

func TestDecodeValue(t *testing.T) {
	for i, v := range testValues() {
		b, err := ctymsgpack.Marshal(v, testType)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeValue(&Value{Msgpack: b}, testType)
		if err != nil || !got.RawEquals(v) {
			t.Errorf("%d: %v", i, err)
		}
		if _, err := DecodeValue(&Value{Msgpack: append(b, 0)}, testType); err == nil {
			t.Errorf("%d: a byte too many is accepted", i)
		}
		if _, err := DecodeValue(&Value{Msgpack: b[:len(b)-1]}, testType); err == nil {
			t.Errorf("%d: a byte too few is accepted", i)
		}
	}
	for name, s := range map[string]string{
		"nothing": "", "reserved": "\xc1", "no attributes": "\x80", "a promise": "\xdd\xff\xff\xff\xff", "a long string": "\xdb\xff\xff\xff\xff", "huge number": "\x84\xa1a\xc0\xa1b\x91\xa81e100000\xa1c\xc0\xa1d\xc0", "half a length": "\xdd\xff",
		"other attributes": "\x84\xa1a\xa1x\xa1b\xc0\xa1c\xc0\xa1z\xc0", "mixed": "\x84\xa1a\xa1x\xa1b\xc0\xa1c\xc0\xa1d\x92\x80\x81\xa1e\x01",
	} {
		if v, err := DecodeValue(&Value{Msgpack: []byte(s)}, testType); err == nil {
			t.Errorf("%s is accepted: %#v", name, v)
		}
	}
}

func TestImpliedType(t *testing.T) {
	body := &Block{Attributes: []*Attribute{{Name: "n", Type: []byte(`"number"`)}}}
	got, err := ImpliedType(&Block{
		Attributes: []*Attribute{{Name: "s", Type: []byte(`["list","string"]`)}, {Name: "model", Artifact: "model"}},
		Blocks: []*NestedBlock{{Name: "one", Body: body, Nesting: NestedBlock_NESTING_SINGLE}, {Name: "many", Body: body, Nesting: NestedBlock_NESTING_LIST},
			{Name: "named", Body: body, Nesting: NestedBlock_NESTING_MAP}},
	})
	n := cty.Object(map[string]cty.Type{"n": cty.Number})
	if want := cty.Object(map[string]cty.Type{"s": cty.List(cty.String), "one": n, "many": cty.List(n), "named": cty.Map(n)}); err != nil || !got.Equals(want) {
		t.Errorf("%#v, %v", got, err)
	}
	for _, b := range []*Block{{Attributes: []*Attribute{{Name: "x"}}}, {Blocks: []*NestedBlock{{Name: "x"}}},
		{Blocks: []*NestedBlock{{Name: "x", Nesting: NestedBlock_NESTING_LIST, Body: &Block{Attributes: []*Attribute{{Name: "y", Type: []byte("?")}}}}}}} {
		if _, err := ImpliedType(b); err == nil || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("%v: %v", b, err)
		}
	}
}

func FuzzDecodeValue(f *testing.F) {
	for i, v := range testValues() {
		b, err := ctymsgpack.Marshal(v, testType)
		if err != nil {
			f.Fatal(err)
		}
		if i != 1 { // too long to be a good seed
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := DecodeValue(&Value{Msgpack: b}, testType)
		if err != nil {
			return
		}
		if _, err := ctymsgpack.Marshal(v, testType); err != nil {
			t.Error(err)
		}
	})
}
