package quantize

// groups are the values that share one scale (union-find).
type groups struct{ parent map[string]string }

func newGroups() *groups { return &groups{map[string]string{}} }

func (u *groups) find(v string) string {
	for {
		p, ok := u.parent[v]
		if !ok || p == v {
			return v
		}
		if pp, ok := u.parent[p]; ok {
			u.parent[v] = pp
		}
		v = p
	}
}

func (u *groups) union(a, b string) {
	if a, b = u.find(a), u.find(b); a != b {
		u.parent[b] = a
	}
}
