package ort

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/go-version"
)

// search looks through the places and keeps what did not serve.
type search struct {
	NotFoundError
	only version.Constraints
}

func newSearch(constraint string, variable bool) (*search, error) {
	s := &search{}
	if constraint == "" {
		return s, nil
	}
	only, err := version.NewConstraint(constraint)
	if err != nil {
		from := "the version asked for"
		if variable {
			from = EnvVersion
		}
		return nil, fmt.Errorf("%s is no constraint on versions: %q. Write one such as \"1.27.0\", \"~> 1.27\" or \">= 1.24, < 1.30\"", from, constraint)
	}
	s.only, s.Wanted, s.Chosen = only, constraint, variable
	return s, nil
}

func first(constraint string, variable bool) (Library, error) {
	s, err := newSearch(constraint, variable)
	if err != nil {
		return Library{}, err
	}
	found, err := s.places(false)
	if err != nil {
		return Library{}, err
	}
	return found[0], nil
}

// places returns the libraries that serve, the best first: of the first place that
// has one, or of all. With none it returns the search's error.
func (s *search) places(all bool) (found []Library, err error) {
	if v := os.Getenv(EnvLibrary); v != "" {
		// A wrong setting is an error: falling through would run another library than the user chose.
		s.Named = true
		if found, err = s.named(v); err == nil && len(found) == 0 {
			err = &s.NotFoundError
		}
		return found, err
	}
	if found = s.installed(); len(found) > 0 && !all {
		return found, nil
	}
	for _, dir := range systemDirs() {
		libs := libraries(dir)
		if len(libs) == 0 {
			s.Tried = append(s.Tried, Place{dir, "no " + pattern()})
		}
		for _, l := range s.usable(libs) {
			// The same file may be reached through two folders.
			if !slices.ContainsFunc(found, func(f Library) bool { return sameFile(f.Path, l.Path) }) {
				found = append(found, l)
			}
		}
		if len(found) > 0 && !all {
			return found, nil
		}
	}
	if len(found) == 0 {
		return nil, &s.NotFoundError
	}
	return found, nil
}

// named looks at what the variable names.
func (s *search) named(v string) ([]Library, error) {
	p, err := filepath.Abs(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", EnvLibrary, err)
	}
	st, err := os.Stat(p)
	switch {
	case err != nil:
		s.Tried = append(s.Tried, Place{p, EnvLibrary + " names it, but " + reason(err)})
		return nil, nil
	case !st.IsDir():
		return s.usable([]Library{describe(p)}), nil
	}
	libs := libraries(p)
	if len(libs) == 0 {
		s.Tried = append(s.Tried, Place{p, EnvLibrary + " names it, but it holds no " + pattern()})
	}
	return s.usable(libs), nil
}

// installed looks at what `optimize init` brought.
func (s *search) installed() []Library {
	dir, err := dataDir()
	if err != nil {
		s.Tried = append(s.Tried, Place{"the user's data folder", err.Error()})
		return nil
	}
	root := filepath.Join(dir, "runtimes", "onnxruntime")
	versions, err := os.ReadDir(root)
	if err != nil {
		s.Tried = append(s.Tried, Place{root, reason(err)})
		return nil
	}
	var libs []Library
	for _, v := range versions {
		if v.IsDir() {
			libs = append(libs, libraries(filepath.Join(root, v.Name()))...)
		}
	}
	if len(libs) == 0 {
		s.Tried = append(s.Tried, Place{root, "it holds no " + pattern()})
	}
	return s.usable(libs)
}

// usable sorts the libraries of one place, the newest first, and notes those that do not serve.
func (s *search) usable(libs []Library) []Library {
	slices.SortStableFunc(libs, func(a, b Library) int { return compareVersions(b.Version, a.Version) })
	var out []Library
	for _, l := range libs {
		if why := s.refuse(l.Version); why != "" {
			s.Tried = append(s.Tried, Place{l.Path, why})
			continue
		}
		out = append(out, l)
	}
	return out
}

// refuse says why a version does not serve; "" when it does. One that is not known
// serves unless a constraint asks: the library itself tells it when it is loaded.
func (s *search) refuse(v string) string {
	if v != "" && compareVersions(v, MinVersion) < 0 {
		return "it is version " + v
	}
	if s.only == nil {
		return ""
	}
	if v == "" {
		return "its version is not known"
	}
	parsed, err := version.NewVersion(v)
	if err != nil || !s.only.Check(parsed) {
		return "it is version " + v
	}
	return ""
}
