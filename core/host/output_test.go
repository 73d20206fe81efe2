package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogIsBounded(t *testing.T) {
	defer func(n int64) { longestLog = n }(longestLog)
	longestLog = 1000
	o := &output{path: filepath.Join(t.TempDir(), "logs", "p.log")}
	for range 100 {
		o.line(strings.Repeat("x", 99))
	}
	o.line("last words")
	_, last, path := o.report()
	o.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 1000 || !strings.HasSuffix(string(b), "the rest is left out\n") {
		t.Errorf("%d bytes: %s", len(b), b)
	}
	if last[len(last)-1] != "last words" {
		t.Errorf("the last lines end with %q", last[len(last)-1])
	}
}
