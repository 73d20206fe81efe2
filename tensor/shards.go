package tensor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// LabelName is the tensor that holds a dataset's labels in each shard: I64, one per sample.
const LabelName = "__label__"

// TargetPrefix begins the names of the tensors that hold a dataset's targets in each shard.
const TargetPrefix = "__target__"

// IndexFile is the file that makes a folder a dataset.
const IndexFile = "dataset.json"

// ShardsVersion is the version of the index that this package writes and reads.
const ShardsVersion = 1

// Field describes one field of a dataset; Shape is that of one sample, without axis 0.
type Field struct {
	Name  string  `json:"name"`
	DType DType   `json:"dtype"`
	Shape []int64 `json:"shape"`
}

// Shard is one safetensors file of a dataset.
type Shard struct {
	File    string `json:"file"` // a name in the dataset's folder
	Samples int64  `json:"samples"`
}

// Index is the content of dataset.json.
type Index struct {
	Version int     `json:"version"`
	Samples int64   `json:"samples"`
	Fields  []Field `json:"fields"`
	Label   bool    `json:"label"`
	// Targets are what outputs are held against and no model takes: masks, texts, tokens. In the shards their names
	// begin with TargetPrefix. A text is U8, its UTF-8 with zeros behind it.
	Targets []Field `json:"targets,omitempty"`
	// Classes are the names of the classes by their number, where the source has names.
	Classes []string `json:"classes,omitempty"`
	Shards  []Shard  `json:"shards"`
}

// WriteIndex writes dataset.json into dir. It comes last: without it the folder is
// not a dataset.
func WriteIndex(dir string, x Index) error {
	x.Version = ShardsVersion
	x.Fields = slices.Clone(x.Fields)
	x.Targets = slices.Clone(x.Targets)
	for _, fields := range [][]Field{x.Fields, x.Targets} {
		for i := range fields {
			if fields[i].Shape == nil {
				fields[i].Shape = []int64{}
			}
		}
	}
	b, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, IndexFile)
	f, err := createTemp(path)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Shards reads a materialised dataset: a folder of safetensors files and an index.
// The tensors it returns alias the mapped files: read-only, and not to be used after
// Close. It may be used by several goroutines at once, except for Close.
type Shards struct {
	dir   string
	index Index
	files []*File
	start []int64 // first sample of each shard, and at the end the number of samples

	behind sync.Mutex
	gone   int64 // samples before are let go, as far as this pass read them
}

// OpenShards opens a materialised dataset and checks every shard against the index.
func OpenShards(dir string) (*Shards, error) {
	path := filepath.Join(dir, IndexFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &Shards{dir: dir, start: []int64{0}}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&s.index); err != nil {
		return nil, &FormatError{path, fmt.Sprintf("is no dataset index: %s", err)}
	}
	if s.index.Version != ShardsVersion {
		return nil, &FormatError{path, fmt.Sprintf("has version %d; this build reads version %d", s.index.Version, ShardsVersion)}
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Shards) open() error {
	want := slices.Clone(s.index.Fields)
	if s.index.Label {
		want = append(want, Field{LabelName, I64, nil})
	}
	for _, t := range s.index.Targets {
		want = append(want, Field{TargetPrefix + t.Name, t.DType, t.Shape})
	}
	var total int64
	for _, sh := range s.index.Shards {
		if sh.File != filepath.Base(sh.File) || !filepath.IsLocal(sh.File) {
			return &FormatError{filepath.Join(s.dir, IndexFile), fmt.Sprintf("names the shard %q, which is not a file of this folder", clip(sh.File))}
		}
		path := filepath.Join(s.dir, sh.File)
		f, err := Open(path)
		if err != nil {
			return err
		}
		s.files = append(s.files, f)
		if len(f.names) != len(want) {
			return &FormatError{path, fmt.Sprintf("holds %s, but the index promises %d tensors", list(f.names), len(want))}
		}
		for _, field := range want {
			info, ok := f.Info(field.Name)
			if !ok {
				return &FormatError{path, fmt.Sprintf("lacks the tensor %q", clip(field.Name))}
			}
			shape := append([]int64{sh.Samples}, field.Shape...)
			if info.DType != field.DType || !slices.Equal(info.Shape, shape) {
				return &FormatError{path, fmt.Sprintf("tensor %q is %s %v, but the index promises %s %v", clip(field.Name), info.DType, info.Shape, field.DType, shape)}
			}
			if field.DType.Bits() < 8 {
				return &FormatError{path, fmt.Sprintf("tensor %q is %s; a dataset holds whole bytes", clip(field.Name), field.DType)}
			}
		}
		if sh.Samples < 0 || total+sh.Samples < total {
			return &FormatError{filepath.Join(s.dir, IndexFile), fmt.Sprintf("counts %d samples in %s", sh.Samples, sh.File)}
		}
		total += sh.Samples
		s.start = append(s.start, total)
	}
	if total != s.index.Samples {
		return &FormatError{filepath.Join(s.dir, IndexFile), fmt.Sprintf("promises %d samples, but its shards hold %d", s.index.Samples, total)}
	}
	return nil
}

// Samples returns how many samples the dataset holds.
func (s *Shards) Samples() int64 { return s.index.Samples }

// Fields returns the fields, without the labels, in the order of the dataset block.
func (s *Shards) Fields() []Field { return slices.Clone(s.index.Fields) }

// HasLabels tells whether the dataset has labels.
func (s *Shards) HasLabels() bool { return s.index.Label }

// Batch returns each field's samples from start, axis 0 first: n of them, or fewer
// at the end of the dataset. It does not copy when the batch lies in one shard. The
// labels are not among them. start must lie in the dataset and n be more than 0. A
// reader who goes through the dataset from its beginning keeps little of it in memory:
// samples that lie behind are let go, and come from the file when they are asked for again.
func (s *Shards) Batch(start, n int64) (map[string]Tensor, error) {
	if start < 0 || start >= s.index.Samples || n <= 0 {
		return nil, fmt.Errorf("%s: there is no batch of %d samples from %d; the dataset has %d samples", s.dir, n, start, s.index.Samples)
	}
	n = min(n, s.index.Samples-start)
	s.letGo(start - n) // the batch before may be in use yet
	out := make(map[string]Tensor, len(s.index.Fields))
	for _, f := range s.index.Fields {
		t, err := s.rows(f, start, n)
		if err != nil {
			return nil, fmt.Errorf("%s: field %q: %w", s.dir, clip(f.Name), err)
		}
		out[f.Name] = t
	}
	return out, nil
}

// letGoBytes is how much of the shards may lie behind a reader before it is let go.
const letGoBytes = 4 << 20

// letGo lets the samples before end go that it has not let go before in this pass.
func (s *Shards) letGo(end int64) {
	s.behind.Lock()
	defer s.behind.Unlock()
	if end < s.gone {
		s.gone = max(end, 0) // another pass
		return
	}
	var each int64 // bytes of a sample
	for _, f := range s.index.Fields {
		if n, err := Size(f.DType, f.Shape); err == nil {
			each += n
		}
	}
	if (end-s.gone)*each < letGoBytes {
		return
	}
	for k, file := range s.files {
		from, to := max(s.gone, s.start[k]), min(end, s.start[k+1])
		if from >= to {
			continue
		}
		for _, f := range s.index.Fields {
			if t, err := file.Tensor(f.Name); err == nil {
				if rows, err := t.Rows(from-s.start[k], to-from); err == nil {
					Release(rows.Data)
				}
			}
		}
	}
	s.gone = end
}

// Field returns all samples of one field; it copies when there are several shards.
func (s *Shards) Field(name string) (Tensor, error) {
	for _, f := range s.index.Fields {
		if f.Name == name {
			return s.rows(f, 0, s.index.Samples)
		}
	}
	names := make([]string, len(s.index.Fields))
	for i, f := range s.index.Fields {
		names[i] = f.Name
	}
	return Tensor{}, fmt.Errorf("%s: there is no field %q; the dataset has %s", s.dir, clip(name), list(names))
}

// Labels returns all labels as I64 [Samples], and false when there are none.
func (s *Shards) Labels() (Tensor, bool) {
	if !s.index.Label {
		return Tensor{}, false
	}
	t, err := s.rows(Field{LabelName, I64, nil}, 0, s.index.Samples)
	return t, err == nil
}

// Targets returns what outputs are held against, in the order of the dataset block.
func (s *Shards) Targets() []Field { return slices.Clone(s.index.Targets) }

// Target returns all samples of one target; it copies when there are several shards.
func (s *Shards) Target(name string) (Tensor, error) {
	return s.TargetRows(name, 0, s.index.Samples)
}

// TargetRows returns n samples of one target from start on; it copies when they lie in several shards.
func (s *Shards) TargetRows(name string, start, n int64) (Tensor, error) {
	if start < 0 || n < 0 || start > s.index.Samples || n > s.index.Samples-start {
		return Tensor{}, fmt.Errorf("%s: there are no %d samples from %d; the dataset has %d samples", s.dir, n, start, s.index.Samples)
	}
	var names []string
	for _, f := range s.index.Targets {
		if f.Name == name {
			return s.rows(Field{TargetPrefix + f.Name, f.DType, f.Shape}, start, n)
		}
		names = append(names, f.Name)
	}
	return Tensor{}, fmt.Errorf("%s: there is no target %q; the dataset has %s", s.dir, clip(name), list(names))
}

// Texts reads a target of texts, U8 [N, L]: each ends where the zeros begin.
func Texts(t Tensor) ([]string, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if t.DType != U8 || len(t.Shape) != 2 {
		return nil, fmt.Errorf("texts are U8 [N, L], but this is %s %v", t.DType, t.Shape)
	}
	out := make([]string, t.Shape[0])
	for i := range out {
		row := t.Data[int64(i)*t.Shape[1] : int64(i+1)*t.Shape[1]]
		if k := bytes.IndexByte(row, 0); k >= 0 {
			row = row[:k]
		}
		out[i] = string(row)
	}
	return out, nil
}

// rows gathers n samples of a field; the range was checked by the caller.
func (s *Shards) rows(f Field, start, n int64) (Tensor, error) {
	shape := append([]int64{n}, f.Shape...)
	size, err := Size(f.DType, shape)
	if err != nil {
		return Tensor{}, err
	}
	// The last shard that begins at or before start; empty shards share a beginning.
	k, _ := slices.BinarySearch(s.start[:len(s.files)], start+1)
	k = max(k-1, 0)
	var gathered []byte
	for end := start + n; start < end; k++ {
		take := min(end, s.start[k+1]) - start
		if take <= 0 {
			continue
		}
		t, err := s.files[k].Tensor(f.Name)
		if err != nil {
			return Tensor{}, err
		}
		rows, err := t.Rows(start-s.start[k], take)
		if err != nil {
			return Tensor{}, err
		}
		if take == n {
			return rows, nil
		}
		if gathered == nil {
			gathered = make([]byte, 0, size)
		}
		gathered = append(gathered, rows.Data...)
		start += take
	}
	return Tensor{DType: f.DType, Shape: shape, Data: gathered}, nil
}

// Close unmaps the shards. A second Close does nothing.
func (s *Shards) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.files = nil
	s.index.Samples = 0
	return errors.Join(errs...)
}
