package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// Saved is what apply needs beside a plan's actions to carry out exactly that plan, or to say what changed since.
type Saved struct {
	Created time.Time `json:"created"`
	// Recipe is the recipe's file or folder, absolute; Files are the SHA-256 of its files, by their place in the recipe's
	// folder.
	Recipe string            `json:"recipe"`
	Files  map[string]string `json:"files"`
	// Variables are the values that were given from outside, as they were given. Sensitive ones are only named: apply asks for them.
	Variables map[string]recipe.Value `json:"variables,omitempty"`
	Sensitive []string                `json:"sensitive_variables,omitempty"`

	Targets         []string `json:"targets,omitempty"`
	Refresh         []string `json:"refresh,omitempty"`
	NoCache         bool     `json:"no_cache,omitempty"`
	ReuseBenchmarks bool     `json:"reuse_benchmarks,omitempty"`

	Platform string        `json:"platform"`
	Threads  int64         `json:"threads"`
	Plugins  []SavedPlugin `json:"plugins"`
	// Keys are the cache keys in full, by address, so that apply can say which field differs.
	Keys map[string]cache.Key `json:"keys,omitempty"`
}

// SavedPlugin is a plugin as it was when the plan was made.
type SavedPlugin struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

// Save adds to p what apply needs. files are the Digests of the recipe, given the variables that came from outside.
func (s *Session) Save(p *Plan, files map[string]string, given recipe.Values, targets, refresh []string) error {
	path, err := filepath.Abs(s.Recipe.Path)
	if err != nil {
		return err
	}
	v := &Saved{
		Created: time.Now().UTC().Truncate(time.Second), Recipe: path, Files: files, Variables: map[string]recipe.Value{},
		Targets: targets, Refresh: refresh, NoCache: s.NoCache, ReuseBenchmarks: s.ReuseBenchmarks, Platform: s.Platform, Threads: s.Threads, Plugins: s.plugins(p), Keys: map[string]cache.Key{},
	}
	declared, secret := s.Program.Variables()
	for name, g := range given {
		switch {
		case slices.Contains(secret, name):
			v.Sensitive = append(v.Sensitive, name)
		case slices.Contains(declared, name):
			v.Variables[name] = g
		}
	}
	slices.Sort(v.Sensitive)
	for _, a := range p.Actions {
		if a.Sum != "" {
			v.Keys[a.Addr] = a.Key
		}
	}
	p.Saved = v
	return nil
}

// plugins are those that the plan's steps use and those that the recipe requires.
func (s *Session) plugins(p *Plan) []SavedPlugin {
	names := map[string]bool{}
	for _, a := range p.Actions {
		names[a.Plugin] = true
	}
	for _, r := range s.Recipe.RequiredPlugins {
		names[r.Name] = true
	}
	var out []SavedPlugin
	for _, n := range s.Registry.Names() {
		if ref, ok := s.Registry.Ref(n); ok && (names[n] || ref.Bundled) {
			out = append(out, SavedPlugin{n, ref.Version, ref.Digest})
		}
	}
	return out
}

// Digests are the SHA-256 of a recipe's files as they were parsed, by their place in its folder. Without a recipe there
// are none.
func Digests(r *recipe.Recipe) map[string]string {
	out := map[string]string{}
	if r == nil {
		return out
	}
	for name, f := range r.Files {
		sum := sha256.Sum256(f.Bytes)
		rel := name
		if abs, err := filepath.Abs(name); err == nil {
			if in, err := filepath.Rel(r.Dir, abs); err == nil {
				rel = filepath.ToSlash(in)
			}
		}
		out[rel] = hex.EncodeToString(sum[:])
	}
	return out
}

// Write stores a plan as a file, by rename.
func (p *Plan) Write(path string) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".plan-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// maxSaved bounds a file that is taken for a saved plan.
const maxSaved = 256 << 20

// ReadFile reads a saved plan. It is nil when the file is something else, such as a recipe, or cannot be read: whoever
// reads it as a recipe says so.
func ReadFile(path string) (*Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, nil
	}
	head := make([]byte, 512)
	n, _ := io.ReadFull(f, head) // fewer bytes are no plan
	if !looksSaved(head[:n]) {
		return nil, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSaved))
	if err != nil {
		return nil, err
	}
	return decode(b, path)
}

// looksSaved tells by its beginning whether a file is a plan.
func looksSaved(head []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) && bytes.Contains(head, []byte(`"schema"`)) && bytes.Contains(head, []byte(`"optimize.plan/`))
}

func decode(b []byte, path string) (*Plan, error) {
	var p Plan
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("it is damaged: %w. Make a new one with `optimize plan --out %s`", err, path)
	}
	switch {
	case p.Schema != Schema:
		return nil, fmt.Errorf("it is of the form %s, and this version of Optimize reads %s. Make a new one with `optimize plan --out %s`", p.Schema, Schema, path)
	case p.Saved == nil:
		return nil, fmt.Errorf("it is a plan that --json printed, which apply cannot carry out. Save one with `optimize plan --out %s`", path)
	case p.Saved.Recipe == "" || slices.Contains(p.Actions, nil):
		return nil, fmt.Errorf("it is damaged. Make a new one with `optimize plan --out %s`", path)
	}
	return &p, nil
}
