package mil

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed ops.txt
var opsText string

// param is an argument of an operation.
type param struct {
	name     string
	constant bool
	optional bool
	types    []DataType // empty: any
	letter   string     // arguments of one letter have one type
}

// form is what an operation takes from a version of the specification on.
type form struct {
	since  int
	params []param
}

// forms reads ops.txt: the forms of each operation, the oldest first.
var forms = sync.OnceValue(func() map[string][]form {
	names := map[string]DataType{}
	for d, t := range types {
		names[t.name] = d
	}
	list := func(s string) (ds []DataType) {
		for _, n := range strings.Split(s, ",") {
			d, ok := names[n]
			if !ok {
				panic("ops.txt: there is no type " + n)
			}
			ds = append(ds, d)
		}
		return ds
	}
	all := map[string][]form{}
	for line := range strings.Lines(opsText) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		args, letters, _ := strings.Cut(line, " | ")
		domain := map[string][]DataType{}
		for _, l := range strings.Fields(letters) {
			k, v, _ := strings.Cut(l, "=")
			domain[k] = list(v)
		}
		words := strings.Fields(args)
		since, err := strconv.Atoi(words[1])
		if err != nil {
			panic("ops.txt: " + line)
		}
		f := form{since: since}
		for _, w := range words[2:] {
			name, kind, typed := strings.Cut(w, ":")
			p := param{name: strings.TrimRight(name, "=?"), constant: strings.Contains(name, "="), optional: strings.Contains(name, "?")}
			if typed {
				if d, ok := domain[kind]; ok {
					p.letter, p.types = kind, d
				} else {
					p.types = list(kind)
				}
			}
			f.params = append(f.params, p)
		}
		all[words[0]] = append(all[words[0]], f)
	}
	return all
})

// formOf is the form of an operation in a version of the specification.
func formOf(op string, spec int) (form, error) {
	all := forms()[op]
	if all == nil {
		return form{}, fmt.Errorf("there is no operation %q", op)
	}
	for _, f := range slices.Backward(all) {
		if f.since <= spec {
			return f, nil
		}
	}
	return form{}, fmt.Errorf("the operation %q came with %s", op, OpsetName(all[0].since-1))
}

// Takes tells whether an operation has an argument in an operator set (5 for CoreML5), for rules that write what older ones
// do not have.
func Takes(op string, opset int, arg string) bool {
	f, err := formOf(op, opset+1)
	return err == nil && slices.ContainsFunc(f.params, func(p param) bool { return p.name == arg })
}

// Accepts tells whether an argument of an operation may have a type in an operator set.
func Accepts(op string, opset int, arg string, t DataType) bool {
	f, err := formOf(op, opset+1)
	if err != nil {
		return false
	}
	i := slices.IndexFunc(f.params, func(p param) bool { return p.name == arg })
	return i >= 0 && (f.params[i].types == nil || slices.Contains(f.params[i].types, t))
}
