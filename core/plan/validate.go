package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// Validate asks the plugins about the steps whose configuration is known, beyond what their schemas say. An answer
// without a word is remembered, so that a plugin is started only for what it has not seen yet.
func (s *Session) Validate(ctx context.Context) (ds diag.Diags) {
	for _, n := range s.Program.Nodes() {
		if n.Kind != recipe.KindStep {
			continue
		}
		s.mu.Lock()
		c, more := s.Program.DecodeStep(n)
		s.mu.Unlock()
		if c == nil || more.HasErrors() {
			continue // reported when the recipe was checked
		}
		plain, _ := c.Config.UnmarkDeep()
		if !plain.IsWhollyKnown() {
			continue
		}
		name := PluginOf(c.Type)
		ref, _ := s.Registry.Ref(name)
		memo := s.approval(ref, c)
		if memo != "" && exists(memo) {
			continue
		}
		p, err := s.Registry.Plugin(ctx, name)
		if err != nil {
			return ds.Append(fail(n, fmt.Sprintf("Plugin %s does not start", name), err)...)
		}
		said, err := p.Validate(ctx, c.Type, plain, c.ConfigType)
		if err != nil {
			return ds.Append(fail(n, fmt.Sprintf("Plugin %s could not check %s", name, n.Addr), err)...)
		}
		if len(said) == 0 && memo != "" {
			approve(memo)
		}
		ds = ds.Append(s.Diagnostics(n, name, said)...)
	}
	return ds
}

// approval is the file that says that a plugin had nothing against a configuration; "" when that cannot be remembered.
// Sensitive values are in its name only under the store's secret.
func (s *Session) approval(ref host.Ref, c *recipe.StepConfig) string {
	if ref.Digest == "" || c.Config == cty.NilVal {
		return ""
	}
	config, err := s.Store.CanonicalConfig(c.Config)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", ref.Digest, c.Type, config))
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
