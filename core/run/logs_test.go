package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A step that logs in a loop must not fill the disk that results go to.
func TestStepLogIsBounded(t *testing.T) {
	defer func(old int64) { longestLog = old }(longestLog)
	longestLog = 1000
	l := logs{dir: t.TempDir()}
	s := l.open("step.a")
	for range 100 {
		s.line("%s", strings.Repeat("x", 100))
	}
	l.close()
	got, err := os.ReadFile(filepath.Join(l.dir, LogName("step.a")))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) > 1200 || !strings.Contains(string(got), "logs too much") {
		t.Errorf("%d bytes:\n%s", len(got), got)
	}
}
