package host

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Reattached reads [pluginv1.ReattachVariable]: plugins that run already. Nothing of them is remembered, since their code
// changes under the debugger.
func Reattached(value string) ([]Ref, error) {
	var out []Ref
	for _, s := range strings.Split(value, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		name, addr, ok := strings.Cut(s, "=")
		if !ok || !pluginName.MatchString(name) || addr == "" {
			return nil, fmt.Errorf("%s has %q; write NAME=ADDRESS as the plugin printed it", pluginv1.ReattachVariable, s)
		}
		out = append(out, Ref{Name: name, Attach: addr})
	}
	return out, nil
}

// UniqueDigest stands for an executable whose bytes are not known: it has no result in the cache.
func UniqueDigest() string { return "attached-" + rand.Text() }

// attach connects to a plugin that runs already.
func (m *Manager) attach(ctx context.Context, r Ref) (*Plugin, error) {
	p := &Plugin{manager: m, ref: r, out: &output{path: m.logPath(r), redact: m.opts.Redact}, proc: &process{exited: make(chan struct{})}}
	conn, err := grpc.NewClient(r.Attach, append(p.dialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginv1.MaxWireMessage)))...)
	if err != nil {
		return nil, &StartError{Plugin: r.Name, Command: r.Attach, Reason: fmt.Sprintf("%s is no address: %s", r.Attach, err), Err: err}
	}
	p.plugin, p.runtime = pluginv1.NewPluginClient(conn), pluginv1.NewRuntimeClient(conn)
	p.release = sync.OnceFunc(func() {
		_ = conn.Close()
		p.out.close()
	})
	c, cancel := context.WithTimeout(ctx, m.opts.StartTimeout)
	defer cancel()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(c, state) {
			p.release()
			return nil, &StartError{Plugin: r.Name, Command: r.Attach, Err: c.Err(),
				Reason: fmt.Sprintf("nobody answers at %s: start it with the argument debug and set %s to what it prints, or unset the variable", r.Attach, pluginv1.ReattachVariable)}
		}
	}
	return p, nil
}
