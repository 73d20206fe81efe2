package sdk

import (
	"strings"
	"testing"
)

func TestMatchName(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"stem/conv", "stem/conv", true},
		{"stem/*", "stem/conv", true},
		{"*conv*", "/layer1/conv1/Conv", true},
		{"*/conv?", "a/b/conv1", true},
		{"*/conv?", "a/b/conv12", false},
		{"stem", "stem/conv", false},
		{"*", "", true},
		{"?", "", false},
		{"a*b*c", "aXbXbXc", true},
		{"a*b*c", "aXbXbX", false},
		{strings.Repeat("*a", 30) + "b", strings.Repeat("a", 2000), false},
	} {
		if got := MatchName(c.pattern, c.name); got != c.want {
			t.Errorf("MatchName(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}
