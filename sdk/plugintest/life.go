package plugintest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var lifeChecks = []check{
	{"life/flush", "Flush answers within two seconds.", func(ctx context.Context, k *kit) error {
		p, err := k.process(ctx)
		if err != nil {
			return err
		}
		c, cancel := context.WithTimeout(ctx, 4*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := p.plugin.Flush(c, &pluginv1.FlushRequest{}); err != nil {
			return err
		}
		if took := time.Since(began); took > 2*time.Second {
			return fmt.Errorf("it took %s", took.Round(time.Millisecond))
		}
		return nil
	}},
	{"life/host-gone", "When the host is gone the plugin ends within ten seconds, and so do its children.", func(ctx context.Context, k *kit) error {
		p, err := k.start(ctx, place{cookie: true, child: !isWindows})
		if err != nil {
			return err
		}
		defer p.kill()
		if _, err := p.plugin.Describe(ctx, &pluginv1.DescribeRequest{}); err != nil {
			return err
		}
		return ends(p)
	}},
	{"life/host-gone-busy", "When the host is gone in the middle of a step the plugin ends within ten seconds, and so do its children.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(_ *process, in *stepInput) error {
			p, err := k.start(ctx, place{cookie: true, child: !isWindows})
			if err != nil {
				return err
			}
			defer p.kill()
			v, err := in.value()
			if err != nil {
				return err
			}
			stream, err := p.plugin.Apply(ctx, &pluginv1.ApplyRequest{RunId: "busy", StepType: in.step.GetName(), Config: v, Inputs: in.inputs,
				OutDir: p.dir, ScratchDir: p.dir, Seed: 7, Threads: threads})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil && status.Code(err) != codes.OK && !p.alive() {
				return fmt.Errorf("it failed in Apply: %w%s", err, p.words())
			}
			return ends(p)
		})
	}},
	{"life/alone", "A plugin to which nobody connects ends within two minutes, or when its host dies.", func(ctx context.Context, k *kit) error {
		if isWindows {
			return skip("the suite cannot play a dying host here")
		}
		p, err := k.start(ctx, place{cookie: true, child: true})
		if err != nil {
			return err
		}
		defer p.kill()
		_ = p.cmd.Process.Kill() // the shell, which is the plugin's parent
		for end := time.Now().Add(min(2*time.Minute, 2*k.o.Patience)); groupAlive(p.cmd); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				return errors.New("it waits for ever")
			}
		}
		return nil
	}},
	{"life/spans", "The plugin's spans of a step arrive at OTEL_EXPORTER_OTLP_ENDPOINT, in the trace that the call carries.", spans},
	{"life/secrets", "A plugin does without the user's variables: its steps work with those that the host passes on.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(_ *process, in *stepInput) error {
			p, err := k.start(ctx, place{cookie: true})
			if err != nil {
				return err
			}
			defer p.kill()
			a, err := k.apply(ctx, p, in, "", nil)
			if err == nil {
				err = a.failed()
			}
			return err
		})
	}},
	{"life/goes-on", "The process lives as long as its host: none ended by itself under all these checks.", func(ctx context.Context, k *kit) error {
		if k.lost {
			return errors.New("one did")
		}
		p, err := k.process(ctx)
		if err != nil {
			return err
		}
		for range 2 {
			if _, err := p.plugin.Describe(ctx, &pluginv1.DescribeRequest{}); err != nil {
				return fmt.Errorf("it does not answer: %w%s", err, p.words())
			}
			if p.wait(300 * time.Millisecond) {
				return fmt.Errorf("it ended%s", p.words())
			}
		}
		return nil
	}},
}

// ends plays a host that dies: its connection is gone, and where a shell stood in its place, so is the plugin's parent.
// It waits for the end of the plugin and its children.
func ends(p *process) error {
	_ = p.conn.Close()
	if isWindows {
		if !p.wait(10 * time.Second) {
			return errors.New("the process is still there: watch the connection, or the parent process")
		}
		return nil
	}
	_ = p.cmd.Process.Kill() // the shell
	for end := time.Now().Add(10 * time.Second); groupAlive(p.cmd); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("the process or a child of it is still there: watch the connection or the parent process, and end your process group")
		}
	}
	return nil
}

// spans runs a step in a process that knows the suite's receiver.
func spans(ctx context.Context, k *kit) error {
	d, err := k.openDesk()
	if err != nil {
		return err
	}
	return k.eachInput(ctx, func(_ *process, in *stepInput) error {
		endpoint := d.address
		if !strings.HasPrefix(endpoint, "unix:") {
			endpoint = "http://" + endpoint
		}
		p, err := k.start(ctx, place{cookie: true, env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint,
			"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_INSECURE=true", "OTEL_TRACES_EXPORTER=otlp",
			"OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none", "TRACEPARENT=00-" + traceID + "-00000000000000bb-01"}})
		if err != nil {
			return err
		}
		defer p.kill()
		if _, err := k.apply(ctx, p, in, "", nil); err != nil {
			return err
		}
		if _, err := p.plugin.Flush(ctx, &pluginv1.FlushRequest{}); err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		mine := 0
		for _, s := range d.spans {
			if s.trace != traceID {
				return fmt.Errorf("the span %q is in a trace of its own", s.name)
			}
			mine++
		}
		if mine == 0 {
			return errors.New("none arrived until Flush had answered")
		}
		d.spans = nil
		return nil
	})
}
