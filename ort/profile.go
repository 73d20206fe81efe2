package ort

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/tensor"
)

// Profile is what the engine measured while a session ran; see [Options.ProfilePath].
type Profile struct {
	Load  time.Duration // reading the model and preparing the session
	Runs  int           // runs of the whole model
	Run   time.Duration // spent in them, all together
	Nodes []NodeProfile // in the order of their first run; those of a loop's body or a branch too
}

// NodeProfile is one node of the graph that the engine ran, after its own rewriting.
type NodeProfile struct {
	Name     string
	Op       string
	Provider string // the execution provider that ran it, such as "CPUExecutionProvider"
	Index    int    // the engine's number of the node in its graph, -1 when it does not tell
	Runs     int
	Total    time.Duration // of all its runs
	Fastest  time.Duration // shortest run
	Slowest  time.Duration // longest run

	// What one run reads and writes, as of the last one; -1 when the engine does not tell. Bytes.
	OutputBytes, ActivationBytes, ParameterBytes int64
	Inputs, Outputs                              []ProfiledTensor // of the last run
}

// ProfiledTensor is an input or output of a node.
type ProfiledTensor struct {
	Type  string // the engine's word: "float", "int8", ...
	Shape []int64
}

// OpProfile adds up the nodes of one operator on one provider.
type OpProfile struct {
	Op, Provider string
	Nodes, Runs  int
	Total        time.Duration
	Share        float64 // of the time in all nodes, 0 to 1
}

// ByOp adds up by operator and provider, the most expensive first.
func (p *Profile) ByOp() []OpProfile {
	type key struct{ op, provider string }
	sums := map[key]*OpProfile{}
	var all time.Duration
	for _, n := range p.Nodes {
		k := key{n.Op, n.Provider}
		if sums[k] == nil {
			sums[k] = &OpProfile{Op: n.Op, Provider: n.Provider}
		}
		sums[k].Nodes++
		sums[k].Runs += n.Runs
		sums[k].Total += n.Total
		all += n.Total
	}
	out := make([]OpProfile, 0, len(sums))
	for _, s := range sums {
		if all > 0 {
			s.Share = float64(s.Total) / float64(all)
		}
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b OpProfile) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Provider, b.Provider))
	})
	return out
}

// Slowest returns up to n nodes, the most expensive first.
func (p *Profile) Slowest(n int) []NodeProfile {
	out := slices.Clone(p.Nodes)
	slices.SortStableFunc(out, func(a, b NodeProfile) int { return cmp.Compare(b.Total, a.Total) })
	return out[:min(max(n, 0), len(out))]
}

// ProfileFile loads a model file, runs it warmup+runs times on the inputs and returns
// what the engine measured in the last runs. o.ProfilePath keeps the engine's own
// file too; it may be empty.
func ProfileFile(path string, o Options, inputs map[string]tensor.Tensor, warmup, runs int) (_ *Profile, err error) {
	if warmup < 0 || runs < 1 {
		return nil, fmt.Errorf("a profile needs 1 run or more and 0 or more to warm up, but %d and %d were asked for", runs, warmup)
	}
	if o.ProfilePath == "" {
		dir, err := os.MkdirTemp("", "optimize-profile-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the engine's profile: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		o.ProfilePath = filepath.Join(dir, "profile.json")
	}
	s, err := NewSessionFile(path, o)
	if err != nil {
		return nil, err
	}
	for range warmup + runs {
		if _, err := s.Run(inputs, nil); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	f, err := os.Open(o.ProfilePath)
	if err != nil {
		return nil, fmt.Errorf("the engine's profile cannot be read: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ReadProfile(f, warmup)
}

// profileEvent is an entry of the engine's file: the trace format of Chrome, with
// times in microseconds.
type profileEvent struct {
	Category string `json:"cat"`
	Name     string `json:"name"`
	Duration int64  `json:"dur"`
	Args     struct {
		Op          string                `json:"op_name"`
		Provider    string                `json:"provider"`
		Index       told                  `json:"node_index"`
		Outputs     told                  `json:"output_size"`
		Activations told                  `json:"activation_size"`
		Parameters  told                  `json:"parameter_size"`
		InputTypes  []map[string][]*int64 `json:"input_type_shape"`
		OutputTypes []map[string][]*int64 `json:"output_type_shape"`
	} `json:"args"`
}

// told is a number that the engine writes as a string, or not at all.
type told struct {
	n  int64
	ok bool
}

func (t *told) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		// Other builds leave it empty; a profile is not worth less for it.
		return nil
	}
	t.n, t.ok = n, true
	return nil
}

func (t told) or(none int64) int64 {
	if t.ok {
		return t.n
	}
	return none
}

// maxEvent is a duration in microseconds beyond which the file is not believed: a year.
const maxEvent = 365 * 24 * 3600 * 1_000_000

// ReadProfile reads the file that a session wrote to [Options.ProfilePath]. The first
// skip runs of the model are left out: they warm up. Runs of several goroutines at
// once are written mixed, so skip 0 then. It holds one event in memory at a time.
func ReadProfile(r io.Reader, skip int) (*Profile, error) {
	type key struct {
		name, op, provider string
		index              int
	}
	p := &Profile{}
	at := map[key]int{}
	ran := 0
	d := json.NewDecoder(r)
	bad := func(err error) (*Profile, error) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("this is not a whole profile of ONNX Runtime: byte %d: %w. It is whole once its session is closed", d.InputOffset(), err)
	}
	if t, err := d.Token(); err != nil {
		return bad(err)
	} else if t != json.Delim('[') {
		return bad(fmt.Errorf("a list of events is expected"))
	}
	for d.More() {
		var e profileEvent
		if err := d.Decode(&e); err != nil {
			return bad(err)
		}
		if e.Duration < 0 || e.Duration > maxEvent {
			return bad(fmt.Errorf("event %q lasts %d microseconds", e.Name, e.Duration))
		}
		took := time.Duration(e.Duration) * time.Microsecond
		switch {
		case e.Category == "Session" && e.Name == "model_run":
			// Written when a run ends, behind the run's nodes.
			if ran++; ran > skip {
				p.Runs++
				p.Run += took
			}
		case e.Category == "Session" && (strings.HasPrefix(e.Name, "model_loading") || e.Name == "session_initialization"):
			p.Load += took
		case e.Category == "Node" && ran >= skip && e.Args.Op != "":
			name, kernel := strings.CutSuffix(e.Name, "_kernel_time")
			if !kernel {
				continue // waiting around a kernel, in older libraries
			}
			k := key{name, e.Args.Op, e.Args.Provider, int(e.Args.Index.or(-1))}
			i, known := at[k]
			if !known {
				i = len(p.Nodes)
				at[k] = i
				p.Nodes = append(p.Nodes, NodeProfile{Name: k.name, Op: k.op, Provider: k.provider, Index: k.index, Fastest: took})
			}
			n := &p.Nodes[i]
			n.Runs++
			n.Total += took
			n.Fastest, n.Slowest = min(n.Fastest, took), max(n.Slowest, took)
			n.OutputBytes, n.ActivationBytes, n.ParameterBytes = e.Args.Outputs.or(-1), e.Args.Activations.or(-1), e.Args.Parameters.or(-1)
			n.Inputs, n.Outputs = profiled(e.Args.InputTypes), profiled(e.Args.OutputTypes)
		}
	}
	if _, err := d.Token(); err != nil {
		return bad(err)
	}
	return p, nil
}

func profiled(from []map[string][]*int64) []ProfiledTensor {
	out := make([]ProfiledTensor, 0, len(from))
	for _, m := range from {
		// Each object has one key, the type.
		for _, t := range slices.Sorted(maps.Keys(m)) {
			shape := make([]int64, len(m[t]))
			for i, d := range m[t] {
				if d != nil {
					shape[i] = *d
				}
			}
			out = append(out, ProfiledTensor{t, shape})
		}
	}
	return out
}

// profileFile is the file that the engine writes under a name of its own choice, in a
// hidden folder beside its place; it moves there whole.
type profileFile struct{ dir, path string }

func newProfileFile(path string) (*profileFile, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".profile-")
	if err != nil {
		return nil, fmt.Errorf("the profile cannot be written: %w", err)
	}
	return &profileFile{dir, path}, nil
}

func (p *profileFile) prefix() string { return filepath.Join(p.dir, "profile") }

// drop forgets what was written.
func (p *profileFile) drop() error {
	if p == nil {
		return nil
	}
	return os.RemoveAll(p.dir)
}

// finish moves the file to its place, once the engine has closed it.
func (p *profileFile) finish() (err error) {
	if p == nil {
		return nil
	}
	defer func() { err = errors.Join(err, p.drop()) }()
	entries, err := os.ReadDir(p.dir)
	if err == nil && len(entries) == 0 {
		err = errors.New("the engine wrote none")
	}
	if err == nil {
		err = os.Rename(filepath.Join(p.dir, entries[len(entries)-1].Name()), p.path)
	}
	if err != nil {
		return fmt.Errorf("the profile %s cannot be written: %w", p.path, err)
	}
	return nil
}
