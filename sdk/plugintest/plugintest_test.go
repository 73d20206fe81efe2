//go:build unix

package plugintest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var faulty string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "faulty-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		faulty = filepath.Join(dir, "optimize-plugin-faulty")
		build := exec.Command("go", "build", "-o", faulty, "./testdata/faulty")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "the faulty plugin does not build:", err)
			return 1
		}
		_ = flag.Set("test.parallel", "12") // most of the time they wait for what does not come
		return m.Run()
	}())
}

// TestGood has a plugin that keeps every rule pass every check, none skipped.
func TestGood(t *testing.T) {
	r, err := Check(t.Context(), Options{Command: []string{faulty}})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Results {
		if x.Status != Pass {
			t.Errorf("%s: %s: %s", x.ID, x.Status, x.Detail)
		}
	}
	if n := len(r.Results); n < 60 {
		t.Errorf("%d checks", n)
	}
	if r.Name != "faulty" || r.Version != "1.0.0" {
		t.Errorf("%s %s", r.Name, r.Version)
	}
}

// TestEachRule has every rule broken by a plugin, and found broken.
func TestEachRule(t *testing.T) {
	out, err := exec.Command(faulty, "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Fields(string(out))
	var ids []string
	for _, r := range Rules() {
		ids = append(ids, r.ID)
		if !slices.Contains(broken, r.ID) {
			t.Errorf("no plugin breaks %s: nobody knows whether its check can fail", r.ID)
		}
	}
	for _, id := range broken {
		if !slices.Contains(ids, id) {
			t.Errorf("%s is broken and not checked", id)
			continue
		}
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			r, err := Check(t.Context(), Options{Command: []string{faulty, id}, Only: []string{id}, Patience: 15 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Results) != 1 || r.Results[0].Status != Fail || r.Results[0].Detail == "" {
				t.Fatalf("%+v", r.Results)
			}
			t.Log(r.Results[0].Detail)
		})
	}
}

func TestRulesAreWellSaid(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules() {
		if seen[r.ID] {
			t.Errorf("%s twice", r.ID)
		}
		seen[r.ID] = true
		if !strings.HasSuffix(r.Text, ".") || strings.Contains(r.Text, "\n") {
			t.Errorf("%s: %q is no sentence", r.ID, r.Text)
		}
	}
}

func TestNoPlugin(t *testing.T) {
	for _, c := range [][]string{nil, {"/no/such/plugin"}, {t.TempDir()}} {
		if _, err := Check(t.Context(), Options{Command: c}); err == nil {
			t.Errorf("%v is checked", c)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add("1|1|unix|/tmp/x|grpc|MIIB")
	f.Add("1|1|tcp|127.0.0.1:1|grpc")
	f.Add("||||||||")
	f.Fuzz(func(t *testing.T, line string) {
		if h, err := parseHandshake(line); err == nil && h.kind == "" && h.network == "" && h.address == "" && !strings.Contains(line, "|") {
			t.Error("a handshake out of nothing")
		}
	})
}
