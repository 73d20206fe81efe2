package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// formatted is one file that fmt looked at.
type formatted struct {
	Path    string `json:"path"`
	Changed bool   `json:"changed"`
	// Diff is there with --diff; Text, for standard input alone, is the source in the canonical style.
	Diff string `json:"diff,omitempty"`
	Text string `json:"text,omitempty"`
}

// leftAlone is a file that fmt does not format.
type leftAlone struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// fmtDocument is what fmt --json prints.
type fmtDocument struct {
	Schema      string        `json:"schema"`
	Check       bool          `json:"check"`
	Files       []formatted   `json:"files"`
	LeftAlone   []leftAlone   `json:"left_alone"`
	Diagnostics diag.Document `json:"diagnostics"`
}

// formatter is one run of fmt.
type formatter struct {
	app                    *app
	check, diff, recursive bool

	files   []formatted
	left    []leftAlone
	ds      diag.Diags
	sources map[string]*hcl.File
}

func (a *app) fmtCommand() *cobra.Command {
	f := &formatter{app: a, sources: map[string]*hcl.File{}}
	c := &cobra.Command{
		Use:   "fmt [PATH...]",
		Short: "Write recipes in the canonical style",
		Long: `Write recipes and files of variables (*.hcl) in the canonical style: indentation,
spaces, aligned equals signs. What a file means stays the same. The names of files
that change are printed.

A PATH is a file, a folder, or - for standard input, whose formatted text goes to
standard output. Without one it is the folder that you are in. JSON (*.hcl.json) is
left alone. A file that does not parse is an error, and is left as it is.

With --check nothing is written; the exit code is 1 when a file would change.`,
		Example: "  optimize fmt\n  optimize fmt --check --diff --recursive recipes\n  optimize fmt - < recipe.hcl",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"hcl"}, cobra.ShellCompDirectiveFilterFileExt
		},
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			for _, path := range args {
				if cmd.Context().Err() != nil {
					break
				}
				if path == "-" {
					f.stdin(cmd.InOrStdin())
					continue
				}
				f.path(path)
			}
			return f.finish()
		},
	}
	c.Flags().BoolVar(&f.check, "check", false, "write nothing; exit with 1 when a file is not in the canonical style")
	c.Flags().BoolVar(&f.diff, "diff", false, "print what changes")
	c.Flags().BoolVarP(&f.recursive, "recursive", "r", false, "format the folders in a folder too")
	return c
}

// path formats a file, or the recipes of a folder.
func (f *formatter) path(path string) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.fail("fmt/path", "There is no "+path, "Name a file that ends in .hcl, a folder, or - for standard input.")
		return
	case err != nil:
		f.fail("fmt/path", path+" cannot be read", "%s", err)
		return
	case !st.IsDir() && strings.HasSuffix(path, ".hcl.json"):
		f.left = append(f.left, leftAlone{path, "it is JSON"})
		return
	case !st.IsDir() && !strings.HasSuffix(path, ".hcl"):
		f.fail("fmt/path", path+" is no recipe", "The name of a recipe, or of a file of variables, ends in .hcl.")
		return
	case !st.IsDir():
		f.file(path)
		return
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		f.fail("fmt/path", path+" cannot be read", "%s", err)
		return
	}
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		switch {
		case e.IsDir():
			// A link to a folder is not followed, so there are no circles; hidden folders hold what tools made.
			if f.recursive && !strings.HasPrefix(e.Name(), ".") {
				f.path(name)
			}
		case strings.HasSuffix(name, ".hcl.json"):
			f.left = append(f.left, leftAlone{name, "it is JSON"})
		case strings.HasSuffix(name, ".hcl"):
			f.file(name)
		}
	}
}

func (f *formatter) fail(code, summary, detail string, args ...any) {
	f.ds = f.ds.Append(diag.Errorf(code, summary, detail, args...))
}

// file formats one file. A link stays: what it points to is written.
func (f *formatter) file(path string) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		f.fail("fmt/path", path+" cannot be read", "%s", err)
		return
	}
	st, err := os.Stat(target)
	if err != nil {
		f.fail("fmt/path", path+" cannot be read", "%s", err)
		return
	}
	if !st.Mode().IsRegular() {
		if !st.IsDir() {
			f.fail("fmt/path", path+" is no regular file", "Only files can be formatted.")
		}
		return
	}
	src, ok := f.read(path, target)
	if !ok {
		return
	}
	out, ok := f.format(src, path)
	if !ok || bytes.Equal(src, out) {
		return
	}
	if !f.check {
		if st.Mode().Perm()&0o222 == 0 {
			f.files = f.files[:len(f.files)-1]
			f.fail("fmt/write", path+" is read-only", "It is not in the canonical style. Make it writable, or look at what would change with optimize fmt --check --diff.")
			return
		}
		if err := rewrite(target, out, st.Mode().Perm()); err != nil {
			f.files = f.files[:len(f.files)-1]
			f.fail("fmt/write", path+" cannot be written", "%s. It is left as it was.", err)
		}
	}
}

func (f *formatter) read(path, target string) ([]byte, bool) {
	in, err := os.Open(target)
	if err != nil {
		f.fail("fmt/path", path+" cannot be read", "%s", err)
		return nil, false
	}
	defer in.Close()
	src, err := io.ReadAll(io.LimitReader(in, recipe.MaxFile+1))
	if err != nil {
		f.fail("fmt/path", path+" cannot be read", "%s", err)
	}
	return src, err == nil
}

// format notes what becomes of a source.
func (f *formatter) format(src []byte, name string) ([]byte, bool) {
	out, file, ds := recipe.Format(src, name)
	f.ds = f.ds.Append(ds...)
	f.sources[name] = file
	if ds.HasErrors() {
		return nil, false
	}
	x := formatted{Path: name, Changed: !bytes.Equal(src, out)}
	if f.diff && x.Changed {
		x.Diff = string(diff.Diff(name, src, name+" (formatted)", out))
	}
	f.files = append(f.files, x)
	return out, true
}

func (f *formatter) stdin(r io.Reader) {
	src, err := io.ReadAll(io.LimitReader(r, recipe.MaxFile+1))
	if err != nil {
		f.fail("fmt/path", "Standard input cannot be read", "%s", err)
		return
	}
	out, ok := f.format(src, "<stdin>")
	if !ok {
		return
	}
	switch {
	case f.app.json:
		f.files[len(f.files)-1].Text = string(out)
	case !f.check && !f.diff:
		_, _ = f.app.stdout.Write(out)
	}
}

// finish prints what was done.
func (f *formatter) finish() error {
	changed := 0
	for _, x := range f.files {
		if x.Changed {
			changed++
		}
	}
	if f.ds.HasErrors() || f.check && changed > 0 {
		f.app.exit = ExitFailed
	}
	if f.app.json {
		r := &diag.Renderer{Files: f.sources}
		return writeJSON(f.app.stdout, fmtDocument{
			Schema: "optimize.fmt/v1", Check: f.check, Files: orEmpty(f.files), LeftAlone: orEmpty(f.left), Diagnostics: r.Document(f.ds.Sorted()),
		})
	}
	for _, x := range f.files {
		switch {
		case x.Diff != "":
			fmt.Fprint(f.app.stdout, x.Diff)
		case x.Changed && x.Path != "<stdin>":
			fmt.Fprintln(f.app.stdout, x.Path)
		}
	}
	for _, x := range f.left {
		fmt.Fprintf(f.app.stderr, "%s is left alone: %s.\n", x.Path, x.Reason)
	}
	f.app.printDiags(f.ds, f.sources)
	return nil
}

// rewrite replaces a file by renaming a whole one into its place, with its mode.
func rewrite(path string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
