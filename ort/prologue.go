package ort

import (
	"fmt"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// The Go binding cannot hand over a scalar whose element type has no Go type. An input of this kind becomes one of float32
// under another name of the same length, which changes a few bytes of the model in their places, and a Cast behind the
// model's bytes, as in the epilogue, makes the model's own value of it. That is exact for all such types.

// feed tells how an input of the model goes into the session.
type feed struct {
	name string // the name in the session
	wide bool   // it goes in as F32
}

// edit is bytes that stand in the place of others.
type edit struct {
	at    int64
	bytes []byte
}

// planFeeds decides for all inputs: how they go in, what is changed in the model's bytes, and what is appended to them.
func planFeeds(inputs []valueInfo) (feeds []feed, edits []edit, extra []byte, err error) {
	var g []byte
	count := byte(0)
	for _, v := range inputs {
		f := feed{name: v.Name}
		if v.ranked && len(v.Shape) == 0 && v.kind == "" && !native(v.DType) {
			// No model has names of control characters.
			if count++; count >= ' ' || v.Name == "" || v.elementAt == 0 {
				return nil, nil, nil, fmt.Errorf("input %q is a scalar of %s, which cannot be given to the engine here. Convert it outside the model", v.Name, v.DType)
			}
			f = feed{name: strings.Repeat("\x01", len(v.Name)-1) + string(rune(count)), wide: true}
			edits = append(edits, edit{v.nameAt, []byte(f.name)}, edit{v.elementAt, []byte{1}})
			g = field(g, 1, node("Cast", []string{f.name}, v.Name, intAttr("to", uint64(v.element))))
		}
		feeds = append(feeds, f)
	}
	if g != nil {
		extra = field(nil, 7, g)
	}
	return feeds, edits, extra, nil
}

// given is a tensor as it goes into the session.
func (f feed) given(t tensor.Tensor) (tensor.Tensor, error) {
	if !f.wide {
		return t, nil
	}
	v, err := tensor.ToFloat32(t)
	return tensor.Of([]int64{}, v), err
}

func feedNames(feeds []feed) []string {
	names := make([]string, len(feeds))
	for i, f := range feeds {
		names[i] = f.name
	}
	return names
}
