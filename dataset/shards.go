package dataset

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

const (
	// shardSize is where a shard ends, if samples are smaller than it.
	shardSize = 64 << 20
	// maxShards bounds the files that are open at once: a dataset over 16 GiB gets
	// larger shards instead of more of them.
	maxShards = 256
)

// shards writes the columns' bytes to the files that they belong to.
type shards struct {
	dir   string
	index tensor.Index
	open  []*tensor.Writer
	each  int64 // samples of every shard but the last
}

func createShards(dir string, cols []*column, samples int64) (tensor.Index, *shards, error) {
	index := tensor.Index{Samples: samples}
	var perSample int64
	for _, c := range cols {
		perSample += c.outSample
		f := Field{Name: c.name, DType: c.conv.to, Shape: c.shape}
		if c.name == tensor.LabelName {
			index.Label = true
		} else if name, ok := strings.CutPrefix(c.name, tensor.TargetPrefix); ok {
			f.Name = name
			index.Targets = append(index.Targets, f)
		} else {
			index.Fields = append(index.Fields, f)
		}
	}
	// Wide types first: then every tensor begins where its type is aligned.
	layout := slices.Clone(cols)
	slices.SortStableFunc(layout, func(a, b *column) int { return b.conv.to.Bits() - a.conv.to.Bits() })
	out := &shards{dir: dir, each: max(1, shardSize/perSample)}
	out.each = max(out.each, (samples+maxShards-1)/maxShards)
	for at := int64(0); at < samples; at += out.each {
		n := min(out.each, samples-at)
		file := fmt.Sprintf("shard-%05d.safetensors", len(out.open))
		infos := make([]tensor.Info, len(layout))
		for i, c := range layout {
			infos[i] = tensor.Info{Name: c.name, DType: c.conv.to, Shape: append([]int64{n}, c.shape...)}
		}
		w, err := tensor.Create(filepath.Join(dir, file), infos, nil)
		if err != nil {
			out.abort()
			return tensor.Index{}, nil, err
		}
		out.open = append(out.open, w)
		index.Shards = append(index.Shards, tensor.Shard{File: file, Samples: n})
	}
	out.index = index
	return index, out, nil
}

// writeAt puts bytes of a column off bytes from the column's beginning.
func (s *shards) writeAt(c *column, p []byte, off int64) error {
	shard := s.each * c.outSample
	for len(p) > 0 {
		k, at := off/shard, off%shard
		n := min(int64(len(p)), shard-at)
		if err := s.open[k].WriteAt(c.name, p[:n], at); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (s *shards) close() error {
	for _, w := range s.open {
		if err := w.Close(); err != nil {
			s.abort()
			s.remove()
			return err
		}
	}
	return nil
}

// abort throws away what is not closed yet.
func (s *shards) abort() {
	for _, w := range s.open {
		w.Abort()
	}
}

// remove deletes the shards that got their names before something failed.
func (s *shards) remove() {
	for _, sh := range s.index.Shards {
		_ = os.Remove(filepath.Join(s.dir, sh.File)) // the cause is on its way up
	}
}
