package lower_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/plugins/coreml/lower"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

const goldenFile = "testdata/programs.txt"

// TestPrograms lowers each case to half precision for iOS 17, and compares the operations, their outputs' types and a
// digest of the whole specification with what the referee was content with: a change of a rule is seen without Python.
// OPTIMIZE_UPDATE_GOLDEN=1 writes the file anew; run TestCases with the referee then.
func TestPrograms(t *testing.T) {
	var b strings.Builder
	for _, c := range cases() {
		l, err := lowered(c.model(t).model, lower.Options{Opset: 7, Half: true})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		fmt.Fprintf(&b, "%s:", c.name)
		for _, op := range l.Model.Main.Ops {
			if op.Type != "const" {
				fmt.Fprintf(&b, " %s", op.Type)
			}
		}
		for _, o := range l.Model.Outputs {
			fmt.Fprintf(&b, " -> %s", o.Type)
		}
		fmt.Fprintf(&b, " #%x\n", digest(t, l.Model))
	}
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(goldenFile, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	is, was := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(is), len(was)) {
		x, y := at(is, i), at(was, i)
		if x != y {
			t.Errorf("got  %s\nwant %s", x, y)
		}
	}
}

func at(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return ""
}

// digest is of the specification that is written: of the program, its constants' places and those that are no weights.
func digest(t *testing.T, m *mil.Model) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a.mlpackage")
	if _, err := mil.WritePackage(dir, m); err != nil {
		t.Error(err)
		return nil
	}
	b, err := os.ReadFile(filepath.Join(dir, "Data/com.apple.CoreML/model.mlmodel"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return sum[:4]
}
