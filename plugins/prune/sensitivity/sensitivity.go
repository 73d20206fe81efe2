// Package sensitivity holds what a scan of a model found: how much each group of channels, or each layer's weights, can
// lose and at what cost. It is an artifact of its own, so that one scan serves many runs.
package sensitivity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
)

// What a scan is an artifact of, and its file.
const (
	Kind   = "sensitivity"
	Format = "optimize-sensitivity"
	Schema = "optimize.sensitivity/v1"
)

// What was taken away.
const (
	Channels = "channels"
	Weights  = "weights"
)

// File is a scan.
type File struct {
	Schema string `json:"schema"`
	// What was taken: Channels of groups, or Weights of layers.
	What string `json:"what"`
	// Pattern and Method say which weights went; Method is the importance of channels.
	Pattern string `json:"pattern,omitempty"`
	Method  string `json:"method"`
	// Metric names the loss of the points: "top1_drop", or "noise", the energy of the error at the model's outputs over
	// that of the outputs. Less is better.
	Metric  string  `json:"metric"`
	Samples int64   `json:"samples"`
	Groups  []Group `json:"groups"`
}

// Group can lose a share of what it has.
type Group struct {
	Name  string   `json:"name"`
	Nodes []string `json:"nodes"`
	// Elements are the weights that go with the group, all of it; Channels how many it has, 0 for weights.
	Elements int64   `json:"elements"`
	Channels int64   `json:"channels,omitempty"`
	Points   []Point `json:"points"` // by rising ratio
}

// Point is the loss of the model when this group alone loses a share.
type Point struct {
	Ratio float64 `json:"ratio"`
	Loss  float64 `json:"loss"`
	// Low and High are the bounds of a 95% interval, where the loss has one.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
}

// Write puts the scan into a file.
func (f *File) Write(path string) error {
	f.Schema = Schema
	if err := f.check(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// largest bounds a file that is read.
const largest = 64 << 20

// Read reads a scan and checks it.
func Read(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > largest {
		return nil, fmt.Errorf("it has %d bytes, which no scan has", info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(b)
}

// Parse reads a scan from bytes.
func Parse(b []byte) (*File, error) {
	var f File
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("it is no scan of sensitivity: %w", err)
	}
	if d.More() {
		return nil, errors.New("something follows the scan in its file")
	}
	return &f, f.check()
}

func (f *File) check() error {
	switch {
	case f.Schema != Schema:
		return fmt.Errorf("its schema is %q, not %q: make it anew with prune_sensitivity", f.Schema, Schema)
	case f.What != Channels && f.What != Weights:
		return fmt.Errorf("it is about %q, which is neither %q nor %q", f.What, Channels, Weights)
	case len(f.Groups) == 0:
		return errors.New("it has no groups")
	}
	seen := map[string]bool{}
	for _, g := range f.Groups {
		if seen[g.Name] {
			return fmt.Errorf("group %q is there twice", g.Name)
		}
		seen[g.Name] = true
		if len(g.Points) == 0 || g.Elements < 0 {
			return fmt.Errorf("group %q has no points, or less than no weights", g.Name)
		}
		last := 0.0
		for _, p := range g.Points {
			if !(p.Ratio > last) || p.Ratio >= 1 || math.IsNaN(p.Loss) || math.IsInf(p.Loss, 0) {
				return fmt.Errorf("group %q: its ratios do not rise from 0 to less than 1, or a loss is no number", g.Name)
			}
			last = p.Ratio
		}
	}
	return nil
}

// Ratio is the largest share that a group can lose at a loss of at most limit: between points the loss is taken as a line,
// and as never falling; beyond the last point nothing is known, so nothing more goes.
func (g *Group) Ratio(limit float64) float64 {
	ratio, loss := 0.0, 0.0 // where nothing goes, nothing is lost
	for _, p := range g.Points {
		l := max(p.Loss, loss)
		if l > limit {
			if limit <= loss {
				return ratio
			}
			return ratio + (p.Ratio-ratio)*(limit-loss)/(l-loss)
		}
		ratio, loss = p.Ratio, l
	}
	return ratio
}

// Allocate gives each group a share so that together they lose the given share of their weights, each at the same loss:
// that is the least loss by which the target is reached, if the losses of groups add up. skip names groups that lose
// nothing; nil skips none. limit is the loss of each.
func (f *File) Allocate(target float64, skip func(name string) bool) (ratios map[string]float64, limit float64, err error) {
	var groups []*Group
	var all int64
	for i := range f.Groups {
		g := &f.Groups[i]
		if skip == nil || !skip(g.Name) {
			groups = append(groups, g)
			all += max(g.Elements, 1)
		}
	}
	if len(groups) == 0 {
		return nil, 0, errors.New("every group is left alone")
	}
	reached := func(limit float64) float64 {
		var sum float64
		for _, g := range groups {
			sum += g.Ratio(limit) * float64(max(g.Elements, 1))
		}
		return sum / float64(all)
	}
	var losses []float64
	for _, g := range groups {
		for _, p := range g.Points {
			losses = append(losses, p.Loss)
		}
	}
	low, high := 0.0, max(slices.Max(losses), 0)
	if most := reached(high); most < target-1e-9 {
		return nil, 0, fmt.Errorf("the scan goes up to %.3g of the weights, and %.3g are asked for: scan with larger ratios", most, target)
	}
	for range 60 {
		mid := low + (high-low)/2
		if reached(mid) < target {
			low = mid
		} else {
			high = mid
		}
	}
	ratios = map[string]float64{}
	for _, g := range groups {
		ratios[g.Name] = g.Ratio(high)
	}
	return ratios, high, nil
}
