package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/optimize-hcl/optimize/core/cache"
)

// Stale is why a saved plan cannot be carried out any more: what changed, and the details.
type Stale struct{ What, Detail string }

func (s *Stale) Error() string { return s.What + ": " + s.Detail }

// CheckRecipe tells what changed in the recipe's files since; now are its Digests.
func (v *Saved) CheckRecipe(now map[string]string) *Stale {
	for _, name := range slices.Sorted(maps.Keys(v.Files)) {
		switch got, ok := now[name]; {
		case !ok:
			return &Stale{"The recipe changed", name + " is not there any more."}
		case got != v.Files[name]:
			return &Stale{"The recipe changed", name + " is not as it was when the plan was made."}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, ok := v.Files[name]; !ok {
			return &Stale{"The recipe changed", name + " is new."}
		}
	}
	return nil
}

// CheckPlugins tells what changed in plugins and machine since.
func (v *Saved) CheckPlugins(s *Session, made string) *Stale {
	if made != s.Version {
		return &Stale{"Optimize changed", fmt.Sprintf("The plan was made by version %s; this is %s.", made, s.Version)}
	}
	if v.Platform != s.Platform {
		return &Stale{"The machine changed", fmt.Sprintf("The plan was made on %s; this is %s.", v.Platform, s.Platform)}
	}
	if v.Threads != s.Threads {
		return &Stale{"The machine changed", fmt.Sprintf("The plan was made for %d threads; there are %d.", v.Threads, s.Threads)}
	}
	for _, p := range v.Plugins {
		ref, ok := s.Registry.Ref(p.Name)
		switch {
		case !ok:
			return &Stale{"A plugin changed", fmt.Sprintf("Plugin %s is not there any more.", p.Name)}
		case ref.Version != p.Version:
			return &Stale{"A plugin changed", fmt.Sprintf("Plugin %s was %s; it is %s now.", p.Name, p.Version, ref.Version)}
		case ref.Digest != p.Digest:
			return &Stale{"A plugin changed", fmt.Sprintf("Plugin %s %s is another build now.", p.Name, p.Version)}
		}
	}
	return nil
}

// CheckPlan compares a saved plan with one made now. Results that came into the store meanwhile are fine: there is less
// to do. Those that went are not, since more would run than the plan says.
func (p *Plan) CheckPlan(now *Plan) *Stale {
	current := map[string]*Action{}
	for _, a := range now.Actions {
		current[a.Addr] = a
	}
	// Files first: what they change further down is a follow-up.
	for _, a := range p.Actions {
		if b := current[a.Addr]; b != nil && a.Digest != "" && a.Digest != b.Digest {
			return &Stale{"An input changed", fmt.Sprintf("%s is another file now: its SHA-256 was %.12s…, and is %.12s….", a.Addr, a.Digest, b.Digest)}
		}
	}
	for _, a := range p.Actions {
		b := current[a.Addr]
		switch {
		case b == nil || a.Kind != b.Kind || a.Type != b.Type || a.Path != b.Path:
			return &Stale{"The recipe's values changed", a.Addr + " is not what the plan has. A file that the recipe reads may have changed."}
		case a.Sum != "" && b.Sum != "" && a.Sum != b.Sum:
			return keyChanged(a, cache.Diff(p.Saved.Keys[a.Addr], b.Key))
		case !maps.Equal(a.Fingerprint, b.Fingerprint):
			return keyChanged(a, cache.Diff(cache.Key{Fingerprint: a.Fingerprint}, cache.Key{Fingerprint: b.Fingerprint}))
		case a.Status == Cached && b.Status != Cached:
			return &Stale{"The cache changed", fmt.Sprintf("The plan takes %s from it, and its result is not there any more.", a.Addr)}
		}
	}
	if len(now.Actions) != len(p.Actions) {
		return &Stale{"The recipe's values changed", "There is more to do than the plan has. A file that the recipe reads may have changed."}
	}
	return nil
}

func keyChanged(a *Action, changes []cache.Change) *Stale {
	if len(changes) == 0 {
		return &Stale{"The recipe's values changed", a.Addr + " has another key."}
	}
	return &Stale{"What a result depends on changed", fmt.Sprintf("Of %s: %s.", a.Addr, changes[0])}
}
