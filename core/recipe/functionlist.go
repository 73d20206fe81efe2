package recipe

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// The names are those that users of OpenTofu and Packer know. Of go-cty's library there is all but what the language
// writes as an operator (+, ==, &&, [...]) and what works on values that a recipe cannot have (bytes). Nothing here
// gives something else when it is called again (a clock, a random number): results are cached.

func numberFunctions() []functionEntry {
	return []functionEntry{
		fn("abs", "abs(number)", "The number without its sign.", "abs(-3)", "3", stdlib.AbsoluteFunc),
		fn("ceil", "ceil(number)", "The next whole number that is not smaller.", "ceil(4.2)", "5", stdlib.CeilFunc),
		fn("floor", "floor(number)", "The next whole number that is not larger.", "floor(4.8)", "4", stdlib.FloorFunc),
		fn("int", "int(number)", "The number without what follows its point.", "int(-4.8)", "-4", calm(stdlib.IntFunc)),
		fn("log", "log(number, base)", "The logarithm of a number.", "log(8, 2)", "3", calm(stdlib.LogFunc)),
		fn("max", "max(number...)", "The largest of the numbers.", "max(4, 16, 8)", "16", stdlib.MaxFunc),
		fn("min", "min(number...)", "The smallest of the numbers.", "min(4, 16, 8)", "4", stdlib.MinFunc),
		fn("parseint", "parseint(text, base)", "Reads a whole number written in a base from 2 to 62.", `parseint("ff", 16)`, "255", stdlib.ParseIntFunc),
		fn("pow", "pow(number, power)", "A number to a power.", "pow(2, 8)", "256", calm(stdlib.PowFunc)),
		fn("round", "round(number, digits)", "Rounds to so many digits after the point, halves away from zero.", "round(0.98765, 3)", "0.988", round),
		fn("signum", "signum(number)", "-1, 0 or 1: the sign of a number.", "signum(-3)", "-1", stdlib.SignumFunc),
		fn("sum", "sum(list)", "The sum of the numbers of a list.", "sum([1, 2, 3])", "6", reduce(cty.Number, cty.Zero, cty.Value.Add)),
	}
}

func textFunctions() []functionEntry {
	return []functionEntry{
		fn("chomp", "chomp(text)", "The text without line ends at its end.", `chomp("int8\n")`, `"int8"`, stdlib.ChompFunc),
		fn("endswith", "endswith(text, suffix)", "Tells whether a text ends with another.", `endswith("m.onnx", ".onnx")`, "true", textTest("suffix", strings.HasSuffix)),
		fn("format", "format(spec, value...)", "Writes values by a specification: %s text, %d whole number, %.2f digits after the point, %q quoted, %v anything, %% a percent sign.",
			`format("%s: %.1f%%", "int8", 98.765)`, `"int8: 98.8%"`, guarded(stdlib.FormatFunc, widths)),
		fn("formatlist", "formatlist(spec, list...)", "Like format, for each element of lists.", `formatlist("q%d", [4, 8])`, `["q4", "q8"]`, guarded(stdlib.FormatListFunc, widths)),
		fn("indent", "indent(spaces, text)", "Indents every line but the first.", `indent(2, "a\nb")`, `"a\n  b"`, guarded(stdlib.IndentFunc, indents)),
		fn("join", "join(separator, list...)", "The texts of lists, with a separator between them.", `join("-", ["int8", "vnni"])`, `"int8-vnni"`, stdlib.JoinFunc),
		fn("lower", "lower(text)", "The text in small letters.", `lower("INT8")`, `"int8"`, stdlib.LowerFunc),
		fn("regex", "regex(pattern, text)", "What a regular expression (RE2) matches first: a text, or with groups a list or an object of them. No match is an error.",
			`regex("[0-9]+", "int8")`, `"8"`, stdlib.RegexFunc),
		fn("regexall", "regexall(pattern, text)", "A list of everything that a regular expression matches.", `regexall("[0-9]+", "w4a16")`, `["4", "16"]`, stdlib.RegexAllFunc),
		fn("regexreplace", "regexreplace(text, pattern, replacement)", "Replaces what a regular expression matches; $1 stands for its first group.",
			`regexreplace("w4a16", "a([0-9]+)", "-act$1")`, `"w4-act16"`, stdlib.RegexReplaceFunc),
		fn("replace", "replace(text, old, new)", "Replaces a text within a text everywhere.", `replace("int8_v1", "_", "-")`, `"int8-v1"`, stdlib.ReplaceFunc),
		fn("split", "split(separator, text)", "The parts of a text between separators.", `split(",", "a,b")`, `["a", "b"]`, stdlib.SplitFunc),
		fn("startswith", "startswith(text, prefix)", "Tells whether a text starts with another.", `startswith("int8", "int")`, "true", textTest("prefix", strings.HasPrefix)),
		fn("strcontains", "strcontains(text, part)", "Tells whether a text holds another.", `strcontains("resnet50", "net")`, "true", textTest("part", strings.Contains)),
		fn("strlen", "strlen(text)", "The number of characters of a text.", `strlen("größe")`, "5", stdlib.StrlenFunc),
		fn("strrev", "strrev(text)", "The text backwards.", `strrev("abc")`, `"cba"`, stdlib.ReverseFunc),
		fn("substr", "substr(text, offset, length)", "A part of a text; a length of -1 reaches to its end, a negative offset counts from there.", `substr("resnet50", -2, 2)`, `"50"`, stdlib.SubstrFunc),
		fn("title", "title(text)", "The text with a capital letter at the start of each word.", `title("mobile net")`, `"Mobile Net"`, stdlib.TitleFunc),
		fn("trim", "trim(text, characters)", "The text without these characters at both ends.", `trim("--int8-", "-")`, `"int8"`, stdlib.TrimFunc),
		fn("trimprefix", "trimprefix(text, prefix)", "The text without a prefix.", `trimprefix("v1.2", "v")`, `"1.2"`, stdlib.TrimPrefixFunc),
		fn("trimspace", "trimspace(text)", "The text without spaces and line ends at both ends.", `trimspace(" int8\n")`, `"int8"`, stdlib.TrimSpaceFunc),
		fn("trimsuffix", "trimsuffix(text, suffix)", "The text without a suffix.", `trimsuffix("m.onnx", ".onnx")`, `"m"`, stdlib.TrimSuffixFunc),
		fn("upper", "upper(text)", "The text in capital letters.", `upper("int8")`, `"INT8"`, stdlib.UpperFunc),
	}
}

func collectionFunctions() []functionEntry {
	return []functionEntry{
		fn("alltrue", "alltrue(list)", "True when every element is true, also of an empty list.", "alltrue([true, 8 > 4])", "true", reduce(cty.Bool, cty.True, cty.Value.And)),
		fn("anytrue", "anytrue(list)", "True when at least one element is true.", "anytrue([false, 8 > 4])", "true", reduce(cty.Bool, cty.False, cty.Value.Or)),
		fn("chunklist", "chunklist(list, size)", "Cuts a list into lists of a size.", "chunklist([1, 2, 3], 2)", "[[1, 2], [3]]", stdlib.ChunklistFunc),
		fn("coalesce", "coalesce(value...)", "The first value that is not null.", `coalesce(null, "auto")`, `"auto"`, stdlib.CoalesceFunc),
		fn("coalescelist", "coalescelist(list...)", "The first list that is not empty.", `coalescelist([], ["a"])`, `["a"]`, stdlib.CoalesceListFunc),
		fn("compact", "compact(list)", "A list of texts without the empty ones and nulls.", `compact(["a", "", "b"])`, `["a", "b"]`, stdlib.CompactFunc),
		fn("concat", "concat(list...)", "One list of the elements of all lists.", "concat([1], [2, 3])", "[1, 2, 3]", stdlib.ConcatFunc),
		fn("contains", "contains(list, value)", "Tells whether a list or set holds a value.", `contains(["int8", "int4"], "int4")`, "true", stdlib.ContainsFunc),
		fn("distinct", "distinct(list)", "A list without repetitions.", "distinct([8, 4, 8])", "[8, 4]", stdlib.DistinctFunc),
		fn("element", "element(list, index)", "The element at an index; past the end it starts over.", `element(["a", "b"], 3)`, `"b"`, stdlib.ElementFunc),
		fn("flatten", "flatten(list)", "One list of the elements of all lists within a list.", "flatten([[1, 2], [3, [4]]])", "[1, 2, 3, 4]", stdlib.FlattenFunc),
		fn("hasindex", "hasindex(collection, key)", "Tells whether a list or map has an element at collection[key]; of an object ask can(object.name).", `hasindex(["a", "b"], 2)`, "false", stdlib.HasIndexFunc),
		fn("index", "index(list, value)", "Where a value stands first in a list, counted from 0. One that is not there is an error.", `index(["a", "b"], "b")`, "1", indexOf),
		fn("keys", "keys(map)", "The keys of a map, sorted.", "keys({ b = 1, a = 2 })", `["a", "b"]`, stdlib.KeysFunc),
		fn("length", "length(value)", "The number of elements of a collection, or of characters of a text.", `length(["a", "b"])`, "2", length),
		fn("lookup", "lookup(map, key, default)", "The value of a key, or the default when the map does not have it.", `lookup({ int8 = 8 }, "int4", 4)`, "4", stdlib.LookupFunc),
		fn("merge", "merge(map...)", "One map of all keys; later maps win.", "merge({ a = 1, b = 2 }, { b = 3 })", "{ a = 1, b = 3 }", stdlib.MergeFunc),
		fn("one", "one(list)", "The only element of a list or set, or null when it is empty.", `one(["a"])`, `"a"`, one),
		fn("range", "range([start,] limit[, step])", "A list of numbers from start (0) up to, but without, limit.", "range(0, 8, 2)", "[0, 2, 4, 6]", stdlib.RangeFunc),
		fn("reverse", "reverse(list)", "The list backwards.", "reverse([1, 2, 3])", "[3, 2, 1]", stdlib.ReverseListFunc),
		fn("setintersection", "setintersection(set...)", "What is in all sets.", `setintersection(["a", "b"], ["b", "c"])`, `toset(["b"])`, calm(stdlib.SetIntersectionFunc)),
		fn("setproduct", "setproduct(set...)", "Every combination of the elements of all sets.", `setproduct(["a"], [4, 8])`, `[["a", 4], ["a", 8]]`, guarded(stdlib.SetProductFunc, products)),
		fn("setsubtract", "setsubtract(a, b)", "What is in a and not in b.", `setsubtract(["a", "b"], ["b"])`, `toset(["a"])`, calm(stdlib.SetSubtractFunc)),
		fn("setsymmetricdifference", "setsymmetricdifference(set...)", "What is in one set only.", `setsymmetricdifference(["a", "b"], ["b", "c"])`, `toset(["a", "c"])`, calm(stdlib.SetSymmetricDifferenceFunc)),
		fn("setunion", "setunion(set...)", "What is in at least one set.", `setunion(["a"], ["b"])`, `toset(["a", "b"])`, calm(stdlib.SetUnionFunc)),
		fn("slice", "slice(list, start, end)", "The elements from start up to, but without, end.", "slice([1, 2, 3, 4], 1, 3)", "[2, 3]", stdlib.SliceFunc),
		fn("sort", "sort(list)", "A list of texts in the order of their characters.", `sort(["b", "a"])`, `["a", "b"]`, stdlib.SortFunc),
		fn("values", "values(map)", "The values of a map, in the order of its keys.", "values({ b = 1, a = 2 })", "[2, 1]", stdlib.ValuesFunc),
		fn("zipmap", "zipmap(keys, values)", "A map made of a list of keys and a list of values.", `zipmap(["a", "b"], [1, 2])`, "{ a = 1, b = 2 }", calm(stdlib.ZipmapFunc)),
	}
}

func typeFunctions() []functionEntry {
	return []functionEntry{
		fn("assertnotnull", "assertnotnull(value)", "The value; null is an error.", "assertnotnull(8)", "8", stdlib.AssertNotNullFunc),
		fn("can", "can(expression)", "Tells whether an expression can be evaluated.", `can(tonumber("auto"))`, "false", tryfunc.CanFunc),
		fn("convert", "convert(value, type)", "The value as another type, written as in a variable's type.", `convert(["8"], list(number))`, "[8]", typeexpr.ConvertFunc),
		fn("tobool", "tobool(value)", "The value as true or false.", `tobool("true")`, "true", stdlib.MakeToFunc(cty.Bool)),
		fn("tolist", "tolist(collection)", "The elements as a list; all are of one type.", `tolist(toset(["b", "a"]))`, `["a", "b"]`, stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType))),
		fn("tomap", "tomap(object)", "The object as a map; all values are of one type.", `tomap({ a = 1, b = "x" })`, `{ a = "1", b = "x" }`, stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType))),
		fn("tonumber", "tonumber(value)", "The value as a number.", `tonumber("0.5")`, "0.5", stdlib.MakeToFunc(cty.Number)),
		fn("toset", "toset(collection)", "The elements as a set: without order and repetitions.", `toset(["b", "a", "b"])`, `toset(["a", "b"])`, stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType))),
		fn("tostring", "tostring(value)", "The value as a text.", "tostring(8)", `"8"`, stdlib.MakeToFunc(cty.String)),
		fn("try", "try(expression...)", "The first expression that can be evaluated.", `try(tonumber("auto"), 8)`, "8", tryfunc.TryFunc),
	}
}

func timeFunctions() []functionEntry {
	return []functionEntry{
		fn("formatdate", "formatdate(spec, time)", "Writes a time: YYYY year, MM month, DD day, hh hour, mm minute, ss second, 'text' as it is.",
			`formatdate("DD.MM.YYYY", "2026-03-01T12:00:00Z")`, `"01.03.2026"`, stdlib.FormatDateFunc),
		fn("timeadd", "timeadd(time, duration)", "A time moved by a duration.", `timeadd("2026-03-01T12:00:00Z", "90m")`, `"2026-03-01T13:30:00Z"`, stdlib.TimeAddFunc),
	}
}

func encodingFunctions() []functionEntry {
	return []functionEntry{
		fn("base64decode", "base64decode(text)", "The text that Base64 stands for.", `base64decode("aW50OA==")`, `"int8"`, text("text", func(s string) (string, error) {
			b, err := base64.StdEncoding.DecodeString(s)
			switch {
			case err != nil:
				return "", function.NewArgErrorf(0, "it is not Base64")
			case !utf8.Valid(b):
				return "", function.NewArgErrorf(0, "what it stands for is not UTF-8 text")
			}
			return string(b), nil
		})),
		fn("base64encode", "base64encode(text)", "The text as Base64.", `base64encode("int8")`, `"aW50OA=="`, text("text", func(s string) (string, error) {
			return base64.StdEncoding.EncodeToString([]byte(s)), nil
		})),
		fn("csvdecode", "csvdecode(text)", "A list of objects, one for each row of CSV below its header.", `csvdecode("name,bits\nq,8\n")`, `[{ bits = "8", name = "q" }]`, stdlib.CSVDecodeFunc),
		fn("jsondecode", "jsondecode(text)", "The value that JSON stands for.", `jsondecode("{\"bits\": [4, 8]}")`, "{ bits = [4, 8] }", stdlib.JSONDecodeFunc),
		fn("jsonencode", "jsonencode(value)", "The value as JSON.", "jsonencode({ bits = [4, 8] })", `"{\"bits\":[4,8]}"`, stdlib.JSONEncodeFunc),
		fn("sha256", "sha256(text)", "The SHA-256 of a text, 64 hexadecimal digits.", `substr(sha256("int8"), 0, 8)`, `"cb1525bc"`, text("text", func(s string) (string, error) {
			h := sha256.Sum256([]byte(s))
			return hex.EncodeToString(h[:]), nil
		})),
	}
}

func fileFunctions() []functionEntry {
	return []functionEntry{
		fnIn("abspath", "abspath(path)", "The path from the root of the file system; a relative one starts in the recipe's folder.", `basename(abspath("dist/m.onnx"))`, `"m.onnx"`, func(dir string) function.Function {
			return text("path", func(s string) (string, error) { return resolve(dir, s), nil })
		}),
		fn("basename", "basename(path)", "The last part of a path.", `basename("models/resnet.onnx")`, `"resnet.onnx"`, text("path", func(s string) (string, error) { return filepath.Base(s), nil })),
		fn("dirname", "dirname(path)", "A path without its last part.", `dirname("models/resnet.onnx")`, `"models"`, text("path", func(s string) (string, error) { return filepath.Dir(s), nil })),
		fnIn("file", "file(path)", "The text of a file of at most 1 MiB, relative to the recipe's folder.", `trimspace(file("version.txt"))`, `"1.2"`, func(dir string) function.Function {
			return text("path", func(s string) (string, error) {
				b, err := readBounded(resolve(dir, s), maxText)
				if err == nil && !utf8.Valid(b) {
					err = errors.New("it is not UTF-8 text")
				}
				if err != nil {
					return "", unreadable(s, err)
				}
				return string(b), nil
			})
		}),
		fnIn("fileexists", "fileexists(path)", "Tells whether there is a file, relative to the recipe's folder.", `fileexists("none.txt")`, "false", func(dir string) function.Function {
			return function.New(&function.Spec{
				Params: []function.Parameter{{Name: "path", Type: cty.String}},
				Type:   function.StaticReturnType(cty.Bool),
				Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
					st, err := os.Stat(resolve(dir, args[0].AsString()))
					if err != nil && !errors.Is(err, fs.ErrNotExist) {
						return cty.False, unreadable(args[0].AsString(), err)
					}
					return cty.BoolVal(err == nil && !st.IsDir()), nil
				},
			})
		}),
		fnIn("fileset", "fileset(folder, pattern)", "A set of the files of a folder whose names match a pattern of *, ? and [a-z], as paths relative to it.", `fileset(".", "*.txt")`, `toset(["version.txt"])`, fileset),
		fnIn("templatefile", "templatefile(path, variables)", "The text of a file with its ${...} and %{...} filled in from an object of variables.", `templatefile("greeting.tftpl", { name = "int8" })`, `"Hello int8!\n"`, nil),
	}
}

// round rounds a number to digits after the point.
var round = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "number", Type: cty.Number}, {Name: "digits", Type: cty.Number}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		digits, ok := wholeNumber(args[1])
		if !ok || digits > 30 {
			return cty.UnknownVal(cty.Number), function.NewArgErrorf(1, "it is a whole number from 0 to 30")
		}
		if !sane(args[0]) {
			return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "the number is too large or too small")
		}
		// By way of a fraction: in binary 1.005 is a little less than it says.
		s := args[0].AsBigFloat().Text('f', 60)
		r, _ := new(big.Rat).SetString(s) // digits and a point always are a fraction
		return cty.ParseNumberVal(r.FloatString(int(digits)))
	},
})

// fileset lists files by a pattern.
func fileset(dir string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "folder", Type: cty.String}, {Name: "pattern", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Set(cty.String)),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			root := resolve(dir, args[0].AsString())
			none := cty.UnknownVal(cty.Set(cty.String))
			if st, err := os.Stat(root); err != nil {
				return none, unreadable(args[0].AsString(), err)
			} else if !st.IsDir() {
				return none, function.NewArgErrorf(0, "%q is not a folder", args[0].AsString())
			}
			names, err := fs.Glob(os.DirFS(root), args[1].AsString())
			if err != nil {
				return none, function.NewArgErrorf(1, "%q is not a pattern", args[1].AsString())
			}
			var out []cty.Value
			for _, n := range names {
				if st, err := os.Stat(filepath.Join(root, filepath.FromSlash(n))); err == nil && st.Mode().IsRegular() {
					out = append(out, cty.StringVal(n))
				}
				if len(out) > maxElements {
					return none, function.NewArgErrorf(1, "it matches more than %d files", maxElements)
				}
			}
			if len(out) == 0 {
				return cty.SetValEmpty(cty.String), nil
			}
			return cty.SetVal(out), nil
		},
	})
}
