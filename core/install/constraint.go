package install

import (
	"fmt"
	"strings"

	goversion "github.com/hashicorp/go-version"
)

// CheckConstraint tells why a version does not satisfy a constraint such as ">= 0.1, < 2" (operators =, !=, >, >=, <,
// <=, ~>). An empty constraint is satisfied by everything. A pre-release ("0.2.0-dev") counts as its release unless the
// constraint itself names a pre-release: whoever builds from source is not locked out of their own recipes.
func CheckConstraint(constraint, version string) error {
	if strings.TrimSpace(constraint) == "" {
		return nil
	}
	cs, err := goversion.NewConstraint(constraint)
	if err != nil {
		return fmt.Errorf("%q is not a version constraint; write one like \">= 0.1\" or \">= 0.1, < 2.0\"", constraint)
	}
	v, err := goversion.NewVersion(version)
	if err != nil {
		return fmt.Errorf("%q is not a version number", version)
	}
	if cs.Check(v) || !namesPrerelease(cs) && cs.Check(v.Core()) {
		return nil
	}
	return fmt.Errorf("version %s does not satisfy %q", version, constraint)
}

func namesPrerelease(cs goversion.Constraints) bool {
	for _, c := range cs {
		if c.Prerelease() {
			return true
		}
	}
	return false
}
