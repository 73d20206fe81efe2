package dataset

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		text string
		want header
		err  string
	}{
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", header{dtype: tensor.F32, descr: "<f4", shape: []int64{2, 3}, size: 24}, ""},
		{`{"shape": (5L,), "descr": ">i8", "fortran_order": True}` + "\n", header{dtype: tensor.I64, descr: ">i8", swap: true, fortran: true, shape: []int64{5}, size: 40}, ""},
		{"{'descr': '|b1', 'fortran_order': False, 'shape': ()}   \x00", header{dtype: tensor.Bool, descr: "|b1", shape: []int64{}, size: 1}, ""},
		{"{'descr': 'u1', 'fortran_order': False, 'shape': [7]}", header{dtype: tensor.U8, descr: "u1", shape: []int64{7}, size: 7}, ""},
		{"{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", header{}, "fortran_order"},
		{"{'descr': 4, 'fortran_order': False, 'shape': ()}", header{}, "descr"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,)}", header{}, "comma"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", header{}, "whole number"},
		{"{'descr': '<f4', 'fortran_order': False}", header{}, "shape"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3037000500, 3037000500)}", header{}, "64 bits"},
		{"[1, 2]", header{}, "dictionary"},
		{"{'a': 1} x", header{}, "follows"},
		{"{'a", header{}, "without an end"},
		{"{1: 2}", header{}, "key"},
		{"", header{}, "the end"},
		{"(" + strings.Repeat("(", 100), header{}, "brackets"},
	} {
		h, err := parseHeader(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: got %v, want an error with %q", c.text, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(h, c.want) {
			t.Errorf("%q: got %+v, %v", c.text, h, err)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add(npy("<f4", "(2, 3)", make([]byte, 24)))
	f.Add(npy("|O", "()", nil))
	f.Add([]byte("\x93NUMPY\x02\x00\x10\x00\x00\x00{'descr': [('a', '<f4')]}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHeader(bytes.NewReader(b))
		if err == nil && (h.size < 0 || h.offset > int64(len(b)) || (h.why == "") != (h.dtype != tensor.Invalid)) {
			t.Errorf("%+v", h)
		}
		_ = h.String()
	})
}

// FuzzReadSource reads whatever a file may hold, up to each array's first elements.
func FuzzReadSource(f *testing.F) {
	for _, name := range []string{"stored.npz", "deflated.npz", "plain.npy", "version2.npy", "version3.npy"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readSource(bytes.NewReader(b), int64(len(b)), "fuzz.npz")
		if err != nil {
			return
		}
		_ = s.fields()
		for _, a := range s.arrays {
			if a.bad != nil || a.why != "" {
				continue
			}
			if a.size > int64(len(b))*(maxDeflate+1) {
				t.Errorf("%s claims %d bytes of a file of %d", a.name, a.size, len(b))
			}
			if r, err := a.open(); err == nil {
				_, _ = r.Read(make([]byte, 16))
				r.Close()
			}
		}
	})
}
