package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// FunctionDoc describes one function that expressions may call.
type FunctionDoc struct {
	// Group is what the function works on: "numbers", "text", "collections", "types", "time", "encoding", "files".
	Group string `json:"group"`
	Name  string `json:"name"`
	// Signature is how a call is written: "substr(text, offset, length)". A last "..." repeats, [brackets] may be left out.
	Signature string `json:"signature"`
	// Description is one sentence.
	Description string `json:"description"`
	// Example is an expression, Result what it gives, both as a recipe writes them.
	Example string `json:"example"`
	Result  string `json:"result"`
}

// functionEntry is a function with its description; impl makes it for the folder that paths are relative to. Without
// one, functions makes it.
type functionEntry struct {
	FunctionDoc
	impl func(dir string) function.Function
}

// functionGroups are the groups in the order in which they are shown.
var functionGroups = []struct {
	name    string
	entries func() []functionEntry
}{
	{"numbers", numberFunctions}, {"text", textFunctions}, {"collections", collectionFunctions}, {"types", typeFunctions},
	{"time", timeFunctions}, {"encoding", encodingFunctions}, {"files", fileFunctions},
}

// functionTable is made when it is first needed: most commands of the program evaluate nothing.
var functionTable = sync.OnceValue(func() []functionEntry {
	var out []functionEntry
	for _, g := range functionGroups {
		for _, e := range g.entries() {
			e.Group = g.name
			out = append(out, e)
		}
	}
	return out
})

// Functions describes every function that a recipe may call, group by group, by name within a group.
func Functions() []FunctionDoc {
	var out []FunctionDoc
	for _, e := range functionTable() {
		out = append(out, e.FunctionDoc)
	}
	return out
}

// functions are what expressions of a recipe may call; paths are relative to its folder.
func functions(r *Recipe) map[string]function.Function {
	out := map[string]function.Function{}
	for _, e := range functionTable() {
		if e.impl != nil {
			out[e.Name] = e.impl(r.Dir)
		}
	}
	// A template may call everything but this, so that none reads itself.
	out["templatefile"] = templateFile(r, maps.Clone(out))
	return out
}

// fn describes a function that is the same in every folder.
func fn(name, signature, description, example, result string, f function.Function) functionEntry {
	return fnIn(name, signature, description, example, result, func(string) function.Function { return f })
}

// fnIn describes a function that takes paths.
func fnIn(name, signature, description, example, result string, f func(dir string) function.Function) functionEntry {
	return functionEntry{FunctionDoc{Name: name, Signature: signature, Description: description, Example: example, Result: result}, f}
}

// text makes a function from text to text.
func text(name string, f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: name, Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(args[0].AsString())
			return cty.StringVal(s), err
		},
	})
}

// textTest makes a function that asks something of two texts.
func textTest(second string, f func(a, b string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: second, Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// reduce makes a function that joins the elements of a list by op, beginning with start.
func reduce(ty cty.Type, start cty.Value, op func(a, b cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.List(ty)}},
		Type:   function.StaticReturnType(ty),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			out := start
			for it := args[0].ElementIterator(); it.Next(); {
				_, e := it.Element()
				if e.IsNull() {
					return cty.UnknownVal(ty), function.NewArgErrorf(0, "an element is null")
				}
				out = op(out, e)
			}
			return out, nil
		},
	})
}

// indexOf finds the first place of a value in a list. Go-cty's own "index" is what a recipe writes as list[key].
var indexOf = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		ty := args[0].Type()
		if !ty.IsListType() && !ty.IsTupleType() {
			return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "a list is needed")
		}
		for it := args[0].ElementIterator(); it.Next(); {
			i, e := it.Element()
			same := e.Equals(args[1])
			if !same.IsKnown() {
				return cty.UnknownVal(cty.Number), nil
			}
			if same.True() {
				return i, nil
			}
		}
		return cty.UnknownVal(cty.Number), function.NewArgErrorf(1, "it is not in the list; ask contains first, or write try(index(...), -1)")
	},
})

// length counts elements, of an object too, and the characters of a text.
var length = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		if ty := args[0].Type(); ty != cty.DynamicPseudoType && ty != cty.String && !ty.IsObjectType() && !ty.IsCollectionType() && !ty.IsTupleType() {
			return cty.NilType, function.NewArgErrorf(0, "a collection or a text is needed, and this is %s", article(ty.FriendlyName()))
		}
		return cty.Number, nil
	},
	RefineResult: func(b *cty.RefinementBuilder) *cty.RefinementBuilder { return b.NotNull() },
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v, marks := args[0].Unmark()
		switch ty := v.Type(); {
		case ty.IsObjectType():
			return cty.NumberIntVal(int64(len(ty.AttributeTypes()))).WithMarks(marks), nil
		case ty == cty.String && v.IsKnown():
			n, err := stdlib.Strlen(v)
			return n.WithMarks(marks), err
		case ty == cty.DynamicPseudoType || ty == cty.String:
			return cty.UnknownVal(cty.Number).WithMarks(marks), nil
		}
		n, err := stdlib.Length(v)
		return n.WithMarks(marks), err
	},
})

// one gives the only element of a list or set, null when it is empty.
var one = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type: func(args []cty.Value) (cty.Type, error) {
		ty := args[0].Type()
		switch {
		case ty.IsListType() || ty.IsSetType():
			return ty.ElementType(), nil
		case ty.IsTupleType() && ty.Length() == 1:
			return ty.TupleElementType(0), nil
		case ty.IsTupleType() && ty.Length() == 0:
			return cty.DynamicPseudoType, nil
		case ty.IsTupleType():
			return cty.NilType, function.NewArgErrorf(0, "it has %d elements; one takes a list of at most one", ty.Length())
		}
		return cty.NilType, function.NewArgErrorf(0, "a list or a set is needed")
	},
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		switch n := args[0].LengthInt(); {
		case n == 0:
			return cty.NullVal(ty), nil
		case n > 1:
			return cty.UnknownVal(ty), function.NewArgErrorf(0, "it has %d elements; one takes a list of at most one", n)
		}
		it := args[0].ElementIterator()
		it.Next()
		_, e := it.Element()
		return e, nil
	},
})

// cause is an error without the operation and the path that os puts before it.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// resolve makes a path of a recipe absolute.
func resolve(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// unreadable says why a file cannot be read, under the name that the recipe gives it.
func unreadable(path string, err error) error {
	return function.NewArgErrorf(0, "%s", fmt.Sprintf("%q cannot be read: %s", path, cause(err)))
}
