package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

func inputDigests(in *stepInput) (map[string]string, error) {
	out := map[string]string{}
	for name, a := range in.inputs {
		d, err := digestOf(a.GetPath())
		if err != nil {
			return nil, err
		}
		out[name] = d
	}
	return out, nil
}

// sameAgain compares the outputs of a with those of another run; a step that says nondeterministic may differ.
func (k *kit) sameAgain(ctx context.Context, p, _ *process, in *stepInput, a *applied, again func() (*applied, error)) error {
	plan, err := k.plan(ctx, p, in)
	if err != nil {
		return err
	}
	b, err := again()
	if err != nil {
		return err
	}
	if plan.GetNondeterministic() {
		return nil
	}
	one, err := a.digests()
	if err != nil {
		return err
	}
	two, err := b.digests()
	if err != nil {
		return err
	}
	for name := range one {
		if one[name] != two[name] {
			return fmt.Errorf("output %s has other bytes: it depends on a time, a path, an order of threads or of a map, or on something that is not declared; or answer nondeterministic in Plan", name)
		}
	}
	return nil
}

// deterministic runs each step a second time as somebody else, elsewhere, more than a second later.
func deterministic(ctx context.Context, k *kit) error {
	return k.eachApplied(ctx, func(p *process, in *stepInput, a *applied) error {
		time.Sleep(1100 * time.Millisecond) // the clock of most formats counts seconds
		other, err := k.start(ctx, place{cookie: true, env: elsewhere})
		if err != nil {
			return err
		}
		defer other.kill()
		moved, err := k.moved(in)
		if err != nil {
			return err
		}
		return k.sameAgain(ctx, p, other, in, a, func() (*applied, error) {
			b, err := k.apply(ctx, other, moved, "", nil)
			if err == nil {
				err = b.failed()
			}
			return b, err
		})
	})
}

// moved is an input whose artifacts lie in another folder under other names.
func (k *kit) moved(in *stepInput) (*stepInput, error) {
	dir, err := os.MkdirTemp(k.tmp, "m")
	if err != nil {
		return nil, err
	}
	out := *in
	out.inputs = map[string]*pluginv1.Artifact{}
	for name, a := range in.inputs {
		b := proto.CloneOf(a)
		b.Path = filepath.Join(dir, "other-"+name+filepath.Ext(a.GetPath()))
		st, err := os.Stat(a.GetPath())
		if err != nil {
			return nil, err
		}
		if st.IsDir() {
			err = os.CopyFS(b.Path, os.DirFS(a.GetPath()))
		} else {
			err = copyFile(a.GetPath(), b.Path)
		}
		if err != nil {
			return nil, err
		}
		out.inputs[name] = b
	}
	return &out, nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

func readOnly(ctx context.Context, k *kit) error {
	return k.eachInput(ctx, func(p *process, in *stepInput) error {
		moved, err := k.moved(in)
		if err != nil {
			return err
		}
		for _, a := range moved.inputs {
			err := filepath.WalkDir(filepath.Dir(a.GetPath()), func(p string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					err = os.Chmod(p, 0o444)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		a, err := k.apply(ctx, p, moved, "", nil)
		if err == nil {
			err = a.failed()
		}
		if err != nil && strings.Contains(err.Error(), "lacks") {
			return skip("%s", err)
		}
		return err
	})
}

func brokenModel(ctx context.Context, k *kit) error {
	return k.eachBadModel(ctx, func(model string) (string, error) {
		b, err := os.ReadFile(model)
		if err != nil {
			return "", err
		}
		path := filepath.Join(k.tmp, "broken"+filepath.Ext(model))
		return path, os.WriteFile(path, b[:len(b)/2], 0o644)
	})
}

// eachBadModel gives each step that takes a model a bad one: it must say so in a diagnostic.
func (k *kit) eachBadModel(ctx context.Context, spoil func(model string) (string, error)) error {
	some := false
	err := k.eachInput(ctx, func(p *process, in *stepInput) error {
		bad := *in
		bad.inputs = maps.Clone(in.inputs)
		for name, a := range in.inputs {
			if st, err := os.Stat(a.GetPath()); err != nil || st.IsDir() || a.GetKind() != "model" {
				continue
			}
			path, err := spoil(a.GetPath())
			if err != nil {
				return err
			}
			b := proto.CloneOf(a)
			b.Path = path
			bad.inputs[name] = b
			some = true
		}
		if !some {
			return nil
		}
		a, err := k.apply(ctx, p, &bad, "", nil)
		switch {
		case !p.alive():
			return fmt.Errorf("the process ended%s", p.words())
		case err != nil:
			return fmt.Errorf("a gRPC error means a bug or a crash; say what is wrong in a diagnostic: %w", err)
		case a.failed() == nil:
			return errors.New("it found nothing wrong with it")
		}
		return nil
	})
	if err == nil && !some {
		return skip("no step takes a model that is a file")
	}
	return err
}
