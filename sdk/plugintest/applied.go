package plugintest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// applied is an Apply that came to its end.
type applied struct {
	done    *pluginv1.Done
	diags   []*pluginv1.Diagnostic
	events  []*pluginv1.ApplyEvent
	after   int           // events after Done
	silence time.Duration // the longest
	out     string        // the output folder
	scratch string
	largest int // message, bytes
}

// failed is the first error of the step.
func (a *applied) failed() error { return firstError(a.diags) }

// digests are those of the declared outputs.
func (a *applied) digests() (map[string]string, error) {
	out := map[string]string{}
	for name, o := range a.done.GetOutputs() {
		d, err := digestOf(filepath.Join(a.out, filepath.FromSlash(o.GetPath())))
		if err != nil {
			return nil, err
		}
		out[name] = d
	}
	return out, nil
}

// digestOf hashes a file, or the names and contents of a folder.
func digestOf(path string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\x00", filepath.ToSlash(rel))
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(h, f)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func sizeOf(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		i, err := e.Info()
		if err == nil {
			n += i.Size()
		}
		return err
	})
	return n, err
}

// apply runs a step. stop, when not nil, is closed to have it stopped.
func (k *kit) apply(ctx context.Context, p *process, in *stepInput, id string, stop <-chan struct{}) (*applied, error) {
	v, err := in.value()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(k.tmp, "a")
	if err != nil {
		return nil, err
	}
	a := &applied{out: filepath.Join(dir, "out"), scratch: filepath.Join(dir, "scratch")}
	for _, d := range []string{a.out, a.scratch} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	d, err := k.openDesk()
	if err != nil {
		return nil, err
	}
	if id == "" {
		id = filepath.Base(dir)
	}
	c, cancel := context.WithTimeout(ctx, k.o.Patience)
	defer cancel()
	c = metadata.AppendToOutgoingContext(c, "traceparent", "00-"+traceID+"-00000000000000aa-01")
	stream, err := p.plugin.Apply(c, &pluginv1.ApplyRequest{RunId: id, StepType: in.step.GetName(), Config: v, Inputs: in.inputs,
		OutDir: a.out, ScratchDir: a.scratch, Seed: 7, Threads: threads, Host: &pluginv1.HostEndpoint{Address: d.address, Token: "plugintest"}})
	if err != nil {
		return nil, err
	}
	if stop != nil {
		go func() {
			select {
			case <-stop:
				_, _ = p.plugin.Stop(ctx, &pluginv1.StopRequest{RunId: id})
			case <-c.Done():
			}
		}()
	}
	last := time.Now()
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a, fmt.Errorf("it failed in Apply: %w%s", err, p.words())
		}
		a.silence = max(a.silence, time.Since(last))
		last = time.Now()
		a.events = append(a.events, e)
		a.largest = max(a.largest, proto.Size(e))
		if a.done != nil {
			a.after++
		}
		switch v := e.GetEvent().(type) {
		case *pluginv1.ApplyEvent_Done:
			a.done = v.Done
		case *pluginv1.ApplyEvent_Diagnostic:
			a.diags = append(a.diags, v.Diagnostic)
		}
	}
	if a.done == nil {
		return a, errors.New("the stream ended without Done")
	}
	return a, nil
}

// traceID is that of the suite's own trace.
const traceID = "7e577e577e577e577e577e577e577e57"

// eachApplied runs every step that the suite has inputs for, once for each call.
func (k *kit) eachApplied(ctx context.Context, f func(p *process, in *stepInput, a *applied) error) error {
	return k.eachInput(ctx, func(p *process, in *stepInput) error {
		if m, err := k.plan(ctx, p, in); err != nil {
			return err
		} else if len(m.GetMissing()) > 0 {
			return skip("the machine lacks %s", m.GetMissing()[0].GetWhat())
		}
		a, err := k.apply(ctx, p, in, "", nil)
		if err != nil {
			return err
		}
		if err := a.failed(); err != nil {
			return err
		}
		return f(p, in, a)
	})
}
