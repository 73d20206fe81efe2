package quantize

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// mapModel is readModel without a copy of the weights, for steps that replace constants and never write into them. An
// input of a step is a file of the store, which nobody changes. unmap ends the model and all that was taken from it.
// Unless any is set, float weights behind a QuantizeLinear become integers, as readModel has it.
func mapModel(path string, any bool) (m *onnx.Model, unmap func() error, err error) {
	m, unmap, err = onnx.MapFile(path)
	if err != nil {
		return nil, nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	if any {
		err = validModel(m)
	} else {
		err = checkModel(m)
	}
	if err != nil {
		return nil, nil, errors.Join(err, unmap())
	}
	return m, unmap, nil
}

// detached returns facts, a struct, whose texts are copies: names of a mapped model end with its mapping.
func detached(facts any) any {
	from := reflect.ValueOf(facts)
	to := reflect.New(from.Type()).Elem()
	to.Set(from)
	for i := range to.NumField() {
		switch f := to.Field(i); v := f.Interface().(type) {
		case string:
			f.SetString(strings.Clone(v))
		case []string:
			if v != nil {
				c := make([]string, len(v))
				for k, s := range v {
					c[k] = strings.Clone(s)
				}
				f.Set(reflect.ValueOf(c))
			}
		}
	}
	return to.Interface()
}

// openCalibration loads the engine, whose results the data are for, and opens the dataset.
func openCalibration(d *sdk.Dataset) (*tensor.Shards, error) {
	if err := loadEngine("calibration"); err != nil {
		return nil, err
	}
	shards, err := d.Open()
	if err != nil {
		return nil, sdk.AttrError("calibration", "the dataset cannot be read", err.Error())
	}
	return shards, nil
}

// keepFloat is the argument keep_float at work: it remembers which patterns were of use.
type keepFloat struct {
	patterns globs
	used     []bool
}

func newKeepFloat(patterns []string) *keepFloat {
	return &keepFloat{patterns, make([]bool, len(patterns))}
}

// why says why a node is kept, "" when it is not.
func (k *keepFloat) why(name string) string {
	i := k.patterns.match(name)
	if i < 0 {
		return ""
	}
	k.used[i] = true
	return fmt.Sprintf("kept by keep_float %q", k.patterns[i])
}

// warn tells of patterns that no node had.
func (k *keepFloat) warn(j job) {
	var unused []string
	for i, u := range k.used {
		if !u {
			unused = append(unused, k.patterns[i])
		}
	}
	warnUnused(j, unused)
}
