package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// maxHeader bounds the text in front of an array, which takes forty times its length to
// read. NumPy itself refuses to evaluate more than 10,000 characters, and only structured
// types come near.
const maxHeader = 1 << 16

var npyMagic = []byte("\x93NUMPY")

// header is what a .npy file says about its array.
type header struct {
	dtype   tensor.DType // Invalid when the array cannot be used; why says the reason
	descr   string       // NumPy's spelling of the type
	why     string
	swap    bool // elements are big-endian
	fortran bool // axis 0 varies fastest
	shape   []int64
	size    int64 // bytes of the elements, 0 when dtype is Invalid
	offset  int64 // where they begin
}

// readHeader reads the header of format version 1, 2 or 3 and leaves r at the first
// element. It allocates no more than the header takes.
func readHeader(r io.Reader) (header, error) {
	var pre [12]byte
	if _, err := io.ReadFull(r, pre[:8]); err != nil {
		return header{}, truncated(err, "its first eight bytes are missing")
	}
	if string(pre[:6]) != string(npyMagic) {
		return header{}, errors.New("it does not begin as a NumPy array does")
	}
	var n, off int64
	switch major := pre[6]; major {
	case 1:
		if _, err := io.ReadFull(r, pre[8:10]); err != nil {
			return header{}, truncated(err, "the length of its header is missing")
		}
		n, off = int64(binary.LittleEndian.Uint16(pre[8:])), 10
	case 2, 3:
		if _, err := io.ReadFull(r, pre[8:12]); err != nil {
			return header{}, truncated(err, "the length of its header is missing")
		}
		n, off = int64(binary.LittleEndian.Uint32(pre[8:])), 12
	default:
		return header{}, fmt.Errorf("it has version %d.%d of the NumPy format; versions 1 to 3 are known", major, pre[7])
	}
	if n > maxHeader {
		return header{}, fmt.Errorf("it claims a header of %d bytes; at most %d are read", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return header{}, truncated(err, "its header ends too early")
	}
	h, err := parseHeader(string(text))
	if err != nil {
		return header{}, fmt.Errorf("its header is not understood: %w", err)
	}
	h.offset = off + n
	return h, nil
}

// truncated words the end of a file; other errors of reading are kept.
func truncated(err error, what string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s; the file is truncated", what)
	}
	return err
}

// parseHeader reads the Python dictionary with descr, fortran_order and shape.
func parseHeader(text string) (header, error) {
	v, err := parseLiteral(text)
	if err != nil {
		return header{}, err
	}
	dict, ok := v.(map[string]any)
	if !ok {
		return header{}, errors.New("it is no dictionary")
	}
	var h header
	if h.fortran, ok = dict["fortran_order"].(bool); !ok {
		return header{}, errors.New("fortran_order is missing or neither True nor False")
	}
	shape, ok := dict["shape"].([]any)
	if !ok {
		return header{}, errors.New("shape is missing or no tuple")
	}
	h.shape = make([]int64, len(shape))
	for i, d := range shape {
		if h.shape[i], ok = d.(int64); !ok || h.shape[i] < 0 {
			return header{}, errors.New("shape holds something other than lengths")
		}
	}
	switch d := dict["descr"].(type) {
	case string:
		h.descr = d
		h.dtype, h.swap, h.why = parseDescr(d)
	case []any:
		h.descr, h.why = "structured", "it is a structured array; save each of its columns as an array of its own"
	default:
		return header{}, errors.New("descr is missing or no type")
	}
	if h.dtype != tensor.Invalid {
		if h.size, err = tensor.Size(h.dtype, h.shape); err != nil {
			return header{}, err
		}
	}
	return h, nil
}

// descrs are the types that can be read, without the mark of the byte order.
var descrs = map[string]tensor.DType{
	"b1": tensor.Bool, "u1": tensor.U8, "i1": tensor.I8, "u2": tensor.U16, "i2": tensor.I16,
	"u4": tensor.U32, "i4": tensor.I32, "u8": tensor.U64, "i8": tensor.I64,
	"f2": tensor.F16, "f4": tensor.F32, "f8": tensor.F64,
}

// parseDescr reads a type such as "<f4"; why says what else the type is.
func parseDescr(s string) (d tensor.DType, swap bool, why string) {
	if s == "" {
		return tensor.Invalid, false, "its type is empty"
	}
	order, kind := s[0], s[1:]
	if !strings.ContainsRune("<>|=", rune(order)) {
		order, kind = '|', s
	}
	if d, ok := descrs[kind]; ok {
		return d, order == '>' && d.Bits() > 8, ""
	}
	if kind == "" {
		return tensor.Invalid, false, "its type is incomplete"
	}
	switch kind[0] {
	case 'O':
		why = "it holds Python objects, which are pickled and not numbers; save it with a numeric dtype"
	case 'U':
		why = "it holds Unicode text; models take numbers"
	case 'S', 'a':
		why = "it holds byte strings; save them as uint8"
	case 'c':
		why = "it holds complex numbers; save the real and the imaginary part apart"
	case 'M', 'm':
		why = "it holds dates or durations; save them as int64"
	case 'V':
		why = "it holds raw records, as bfloat16 becomes in NumPy files; save it as float32"
	case 'f':
		why = "it holds extended floats; save it as float64 or float32"
	default:
		why = "its type is not known"
	}
	return tensor.Invalid, false, why
}

// numpyNames spells the types as a user of NumPy does.
var numpyNames = map[tensor.DType]string{
	tensor.Bool: "bool", tensor.U8: "uint8", tensor.I8: "int8", tensor.U16: "uint16", tensor.I16: "int16",
	tensor.U32: "uint32", tensor.I32: "int32", tensor.U64: "uint64", tensor.I64: "int64",
	tensor.F16: "float16", tensor.BF16: "bfloat16", tensor.F32: "float32", tensor.F64: "float64",
}

// String describes the array for a message: "uint8 [2000 1 28 28]".
func (h header) String() string {
	name := numpyNames[h.dtype]
	if name == "" {
		name = clip(h.descr)
	}
	shape := h.shape
	if len(shape) > 8 {
		return fmt.Sprintf("%s with %d axes", name, len(shape))
	}
	return fmt.Sprintf("%s %v", name, shape)
}

// literal parses the part of Python that NumPy writes: strings, whole numbers, True,
// False, None, tuples, lists and dictionaries with string keys.
type literal struct {
	s     string
	at    int
	depth int
}

func parseLiteral(s string) (any, error) {
	p := &literal{s: s}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at != len(p.s) && strings.Trim(p.s[p.at:], "\x00") != "" {
		return nil, fmt.Errorf("something follows the dictionary at character %d", p.at)
	}
	return v, nil
}

func (p *literal) space() {
	for p.at < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
}

func (p *literal) fail(what string) error {
	return fmt.Errorf("%s at character %d", what, p.at)
}

// take consumes c after spaces, and tells whether it was there.
func (p *literal) take(c byte) bool {
	p.space()
	if p.at < len(p.s) && p.s[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *literal) value() (any, error) {
	// Structured types nest a few levels; anything deep is an attack on the stack.
	if p.depth++; p.depth > 32 {
		return nil, p.fail("too many brackets")
	}
	defer func() { p.depth-- }()
	p.space()
	if p.at >= len(p.s) {
		return nil, p.fail("the end")
	}
	switch c := p.s[p.at]; {
	case c == '{':
		return p.dict()
	case c == '(':
		return p.sequence(')')
	case c == '[':
		return p.sequence(']')
	case c == '\'' || c == '"':
		return p.str()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for word, v := range map[string]any{"True": true, "False": false, "None": nil} {
		if strings.HasPrefix(p.s[p.at:], word) {
			p.at += len(word)
			return v, nil
		}
	}
	return nil, p.fail("an unexpected character")
}

func (p *literal) dict() (any, error) {
	p.at++
	out := make(map[string]any)
	for !p.take('}') {
		k, err := p.value()
		if err != nil {
			return nil, err
		}
		key, ok := k.(string)
		if !ok || !p.take(':') {
			return nil, p.fail("a key that is no string, or no colon after it,")
		}
		if out[key], err = p.value(); err != nil {
			return nil, err
		}
		if !p.take(',') && (p.at >= len(p.s) || p.s[p.at] != '}') {
			return nil, p.fail("neither comma nor bracket")
		}
	}
	return out, nil
}

func (p *literal) sequence(end byte) (any, error) {
	p.at++
	out := []any{}
	for !p.take(end) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if !p.take(',') && (p.at >= len(p.s) || p.s[p.at] != end) {
			return nil, p.fail("neither comma nor bracket")
		}
	}
	return out, nil
}

// str reads a quoted string. Escapes stay as they are: no type that can be used and
// no key that is looked for has any.
func (p *literal) str() (any, error) {
	quote := p.s[p.at]
	start := p.at + 1
	for i := start; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			i++
		case quote:
			p.at = i + 1
			return p.s[start:i], nil
		}
	}
	return nil, p.fail("a string without an end")
}

func (p *literal) number() (any, error) {
	start := p.at
	if p.s[p.at] == '-' {
		p.at++
	}
	for p.at < len(p.s) && p.s[p.at] >= '0' && p.s[p.at] <= '9' {
		p.at++
	}
	v, err := strconv.ParseInt(p.s[start:p.at], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is no whole number up to %d", clip(p.s[start:p.at]), int64(math.MaxInt64))
	}
	if p.at < len(p.s) && p.s[p.at] == 'L' { // Python 2 wrote long numbers so
		p.at++
	}
	return v, nil
}

// clip keeps a name from an untrusted file short enough to be shown.
func clip(s string) string {
	if len(s) > 64 {
		return s[:61] + "..."
	}
	return s
}
