package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
)

// LockName is the name of the lock in a recipe's folder.
const LockName = "optimize.lock.hcl"

// Lock says which versions a recipe was made with. `optimize init` writes it; plan and apply refuse others.
type Lock struct {
	Plugins  []Locked
	Runtimes []Locked
}

// Locked is a plugin or a runtime of a lock.
type Locked struct {
	Name, Version string
	// Digests are SHA-256 by platform: of a third-party plugin's executable, of a runtime's library. A bundled plugin has
	// none: it is part of Optimize.
	Digests map[string]string
	// Range is where it stands.
	Range hcl.Range
}

// entryOf gives the entry of that name.
func entryOf(list []Locked, name string) (*Locked, bool) {
	i := slices.IndexFunc(list, func(l Locked) bool { return l.Name == name })
	if i < 0 {
		return nil, false
	}
	return &list[i], true
}

// Plugin gives a plugin's entry.
func (l *Lock) Plugin(name string) (*Locked, bool) { return entryOf(l.Plugins, name) }

// Runtime gives a runtime's entry.
func (l *Lock) Runtime(name string) (*Locked, bool) { return entryOf(l.Runtimes, name) }

// maxLock bounds a lock's size.
const maxLock = 256 << 10

// ReadLock reads the lock of a recipe's folder. There is none when lock is nil without an error. The file is for
// snippets.
func ReadLock(dir string) (lock *Lock, file *hcl.File, ds diag.Diags) {
	path := filepath.Join(dir, LockName)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxLock) {
		err = errors.New("it is no file, or too large")
	}
	var src []byte
	if err == nil {
		src, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, nil, diag.Diags{diag.Errorf("lock/unreadable", "The lock of this recipe cannot be read", "%s: %s.", path, err)}
	}
	return ParseLock(src, path)
}

// ParseLock reads a lock.
func ParseLock(src []byte, path string) (*Lock, *hcl.File, diag.Diags) {
	file := &hcl.File{Bytes: src}
	damaged := func(hd hcl.Diagnostics) (*Lock, *hcl.File, diag.Diags) {
		ds := diag.FromHCL(hd)
		for i := range ds {
			ds[i].Code = "lock/damaged"
			ds[i].Detail = strings.TrimSpace(ds[i].Detail + " The lock is written by `optimize init`: take it from your version control, or run `optimize init --upgrade`.")
		}
		return nil, file, ds
	}
	// The parser calls itself for each bracket; a lock has two levels of them.
	if bytes.Count(src, []byte("[")) > 0 || bytes.Count(src, []byte("(")) > 0 || bytes.Count(src, []byte("{")) > 1000 {
		return nil, file, diag.Diags{diag.Errorf("lock/damaged", path+" is no lock", "It is written by `optimize init`: take it from your version control, or run `optimize init --upgrade`.")}
	}
	f, hd := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	if hd.HasErrors() {
		return damaged(hd)
	}
	type entry struct {
		Name    string            `hcl:"name,label"`
		Version string            `hcl:"version"`
		Digests map[string]string `hcl:"sha256,optional"`
		Range   hcl.Range         `hcl:",def_range"`
	}
	var all struct {
		Plugins  []entry `hcl:"plugin,block"`
		Runtimes []entry `hcl:"runtime,block"`
	}
	if hd := gohcl.DecodeBody(f.Body, nil, &all); hd.HasErrors() {
		return damaged(hd)
	}
	l := &Lock{}
	for _, e := range all.Plugins {
		l.Plugins = append(l.Plugins, Locked(e))
	}
	for _, e := range all.Runtimes {
		l.Runtimes = append(l.Runtimes, Locked(e))
	}
	return l, f, nil
}

// Bytes writes the lock: the same lock gives the same bytes.
func (l *Lock) Bytes() []byte {
	f := hclwrite.NewEmptyFile()
	f.Body().AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenComment, Bytes: []byte(
		"# Written by optimize init: the plugins and libraries that this recipe was made with. Keep it in version control.\n")}})
	write := func(kind string, list []Locked) {
		list = slices.Clone(list)
		slices.SortFunc(list, func(a, b Locked) int { return strings.Compare(a.Name, b.Name) })
		for _, e := range list {
			f.Body().AppendNewline()
			b := f.Body().AppendNewBlock(kind, []string{e.Name}).Body()
			b.SetAttributeValue("version", cty.StringVal(e.Version))
			if len(e.Digests) == 0 {
				continue
			}
			digests := map[string]cty.Value{}
			for p, d := range e.Digests {
				digests[p] = cty.StringVal(d)
			}
			b.SetAttributeValue("sha256", cty.MapVal(digests))
		}
	}
	write("plugin", l.Plugins)
	write("runtime", l.Runtimes)
	return hclwrite.Format(f.Bytes())
}

// WriteLock replaces the lock of a recipe's folder, and tells whether it changed.
func WriteLock(dir string, l *Lock) (changed bool, err error) {
	path := filepath.Join(dir, LockName)
	data := l.Bytes()
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return false, nil
	}
	tmp, err := os.CreateTemp(dir, "."+LockName+".*")
	if err != nil {
		return false, fmt.Errorf("the lock of the recipe cannot be written: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return false, fmt.Errorf("the lock of the recipe cannot be written: %w", err)
	}
	return true, nil
}

// PinnedRuntime is the entry of a runtime as this version of Optimize has it: the library's digests on all platforms.
func PinnedRuntime(name string) (Locked, bool) {
	r, ok := find(name)
	if !ok {
		return Locked{}, false
	}
	e := Locked{Name: r.Name, Version: r.Version, Digests: map[string]string{}}
	for platform, w := range r.Wheels {
		e.Digests[platform] = w.Files[0].SHA256
	}
	return e, true
}
