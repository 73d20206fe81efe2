package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zclconf/go-cty/cty"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Validate asks the plugins about the steps and engines whose configuration is known, beyond what their schemas say. An
// answer without a word is remembered, so that a plugin is started only for what it has not seen yet.
func (s *Session) Validate(ctx context.Context) (ds diag.Diags) {
	for _, n := range s.Program.Nodes() {
		var more diag.Diags
		var err error
		switch n.Kind {
		case recipe.KindStep:
			more, err = s.validateStep(ctx, n)
		case recipe.KindEvaluate:
			more, err = s.validateEngines(ctx, n)
		}
		if ds = ds.Append(more...); err != nil {
			return ds
		}
	}
	return ds
}

// validateStep asks about one step. With an error, which is among the diagnostics, there is nobody to ask any more.
func (s *Session) validateStep(ctx context.Context, n *recipe.Node) (diag.Diags, error) {
	s.mu.Lock()
	c, ds := s.Program.DecodeStep(n)
	s.mu.Unlock()
	if c == nil || ds.HasErrors() {
		return nil, nil // reported when the recipe was checked
	}
	plain, _ := c.Config.UnmarkDeep()
	if !plain.IsWhollyKnown() {
		return nil, nil
	}
	name := PluginOf(c.Type)
	ref, _ := s.Registry.Ref(name)
	memo := ""
	if c.Config != cty.NilVal {
		// Sensitive values are in its name only under the store's secret.
		if config, err := s.Store.CanonicalConfig(c.Config); err == nil {
			memo = s.approval(ref, c.Type, config)
		}
	}
	if memo != "" && exists(memo) {
		return nil, nil
	}
	p, err := s.Registry.Plugin(ctx, name)
	if err != nil {
		return fail(n, fmt.Sprintf("Plugin %s does not start", name), err), err
	}
	said, err := p.Validate(ctx, c.Type, plain, c.ConfigType)
	if err != nil {
		return fail(n, fmt.Sprintf("Plugin %s could not check %s", name, n.Addr), err), err
	}
	if len(said) == 0 && memo != "" {
		approve(memo)
	}
	return s.Diagnostics(n, name, said), nil
}

// validateEngines asks about the engine blocks of an evaluation, each block once for each plugin that it is for.
func (s *Session) validateEngines(ctx context.Context, n *recipe.Node) (ds diag.Diags, _ error) {
	c, more := s.Evaluation(n)
	if more.HasErrors() {
		return nil, nil // reported when the recipe was checked
	}
	type question struct {
		block  *recipe.EngineConfig
		plugin string
	}
	asked := map[question]bool{}
	for _, sub := range c.Subjects() {
		q := question{c.EngineOf(sub.Name), s.runtimeOf(ctx, c, sub)}
		if q.block == nil || q.block.Open || q.plugin == "" || asked[q] {
			continue
		}
		asked[q] = true
		ref, _ := s.Registry.Ref(q.plugin)
		memo := ""
		if options, err := json.Marshal(q.block.Options); err == nil { // with sorted names
			memo = s.approval(ref, "engine", options)
		}
		if memo != "" && exists(memo) {
			continue
		}
		p, err := s.Registry.Plugin(ctx, q.plugin)
		if err != nil {
			return ds.Append(fail(n, fmt.Sprintf("Plugin %s does not start", q.plugin), err)...), err
		}
		r, err := p.Runtime().CheckOptions(ctx, &pluginv1.CheckOptionsRequest{Options: q.block.Options})
		switch {
		case status.Code(err) == codes.Unimplemented: // an older plugin: its Probe tells when the recipe is planned
		case err != nil:
			return ds.Append(fail(n, fmt.Sprintf("Plugin %s could not check the engine of %s", q.plugin, n.Addr), err)...), err
		case len(r.GetDiagnostics()) == 0 && memo != "":
			approve(memo)
		}
		ds = ds.Append(s.diagnosticsIn(q.block.Body, n, q.plugin, r.GetDiagnostics())...)
	}
	return ds, nil
}

// runtimeOf is the plugin that runs a subject, "" while that is not known. No model is read for it.
func (s *Session) runtimeOf(ctx context.Context, c *recipe.EvaluateConfig, sub recipe.Subject) string {
	name, format := c.RuntimeOf(sub.Name), sub.Format
	if m := s.Program.Node(sub.Addr); name == "" && format == "" && m != nil && m.Kind == recipe.KindModel {
		s.mu.Lock()
		source, ds := s.Program.DecodeModel(m)
		s.mu.Unlock()
		if ds.HasErrors() {
			return ""
		}
		if format = source.Format; format == "" {
			format, _ = s.Registry.FormatOf(ctx, source.Source) // what is wrong is told when it is planned
		}
	}
	if name == "" && format != "" {
		name, _, _ = s.Registry.NativeRuntime(ctx, format)
	}
	if _, ok := s.Registry.Ref(name); !ok {
		return ""
	}
	return name
}

// approval is the file that says that a plugin had nothing against a configuration of some kind; "" when that cannot be
// remembered.
func (s *Session) approval(ref host.Ref, kind string, config []byte) string {
	if ref.Digest == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", ref.Digest, kind, config))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(s.Store.Dir(), "plugins", "approved", name[:2], name)
}

// approve makes the file; without it a plugin is asked again.
func approve(path string) {
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
		if f, err := os.Create(path); err == nil {
			_ = f.Close()
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
