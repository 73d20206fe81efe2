package recipe

import (
	"encoding/json"
	"maps"
	"slices"

	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Variables are the names of the variables that the recipe declares, and of the sensitive ones among them, sorted.
func (p *Program) Variables() (declared, secret []string) {
	vars := p.values["var"].AsValueMap()
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		declared = append(declared, name)
		if vars[name].HasMark(sensitive) {
			secret = append(secret, name)
		}
	}
	return declared, secret
}

// savedValue is a Value as JSON. A text was given on the command line or in the environment; a value of a file has its
// type.
type savedValue struct {
	Text  string          `json:"text,omitempty"`
	From  string          `json:"from"`
	Type  json.RawMessage `json:"type,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// OfFile tells whether a value comes from a file of variables, which is then From.
func (v Value) OfFile() bool { return v.file != nil }

// MarshalJSON keeps what UnmarshalJSON needs to have the same value again.
func (v Value) MarshalJSON() ([]byte, error) {
	out := savedValue{Text: v.Text, From: v.From}
	if v.file != nil {
		var err error
		if out.Type, err = ctyjson.MarshalType(v.file.value.Type()); err != nil {
			return nil, err
		}
		if out.Value, err = ctyjson.Marshal(v.file.value, v.file.value.Type()); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote. The place in the file is lost with it.
func (v *Value) UnmarshalJSON(b []byte) error {
	var in savedValue
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*v = Value{Text: in.Text, From: in.From}
	if in.Type == nil {
		return nil
	}
	ty, err := ctyjson.UnmarshalType(in.Type)
	if err != nil {
		return err
	}
	val, err := ctyjson.Unmarshal(in.Value, ty)
	if err != nil {
		return err
	}
	v.file = &fileValue{value: val}
	return nil
}
