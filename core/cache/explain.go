package cache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Change is one field in which a key differs from the newest record of the same step.
type Change struct {
	// Field is a path such as "config.per_channel", "inputs.model", "fingerprint.onnxruntime".
	Field string `json:"field"`
	// Old and New are JSON, or digests cut to twelve digits; empty where the field is absent. Sensitive values show as
	// "(sensitive)".
	Old string `json:"old"`
	New string `json:"new"`
}

// String is "config.per_channel true → false".
func (c Change) String() string {
	show := func(s string) string {
		if s == "" {
			return "(absent)"
		}
		if r := []rune(s); len(r) > 60 {
			return string(r[:59]) + "…"
		}
		return s
	}
	return c.Field + " " + show(c.Old) + " → " + show(c.New)
}

// Explain tells why key is a miss: how it differs, field by field, from the newest record of the step of that name. nil
// means that there is no earlier run. When the keys are equal, the record's files are gone, and the field is "cache".
func (s *Store) Explain(name string, key Key) []Change {
	rec := s.latest(name)
	if rec == nil {
		return nil
	}
	return diffKeys(rec.Key, key)
}

func diffKeys(old, now Key) []Change {
	var d diff
	d.text("step_type", old.StepType, now.StepType)
	d.text("plugin", old.Plugin, now.Plugin)
	d.text("plugin_version", old.PluginVersion, now.PluginVersion)
	d.text("plugin_digest", short(old.PluginDigest), short(now.PluginDigest))
	d.text("revision", fmt.Sprint(old.Revision), fmt.Sprint(now.Revision))
	d.config("config", decode(old.Config), decode(now.Config))
	d.texts("inputs", old.Inputs, now.Inputs, short)
	d.texts("fingerprint", old.Fingerprint, now.Fingerprint, func(s string) string {
		if isDigest(s) {
			return short(s)
		}
		return s
	})
	d.text("platform", old.Platform, now.Platform)
	d.text("seed", strconv.FormatUint(old.Seed, 10), strconv.FormatUint(now.Seed, 10))
	d.text("format", fmt.Sprint(old.Format), fmt.Sprint(now.Format))
	if d.changes == nil {
		d.changes = []Change{{Field: "cache", Old: "recorded", New: "its files are gone"}}
	}
	return d.changes
}

type diff struct{ changes []Change }

func (d *diff) text(field, old, now string) {
	if old != now {
		d.changes = append(d.changes, Change{field, old, now})
	}
}

func (d *diff) texts(field string, old, now map[string]string, show func(string) string) {
	for _, name := range unionKeys(old, now) {
		if o, n := old[name], now[name]; o != n {
			d.changes = append(d.changes, Change{step(field, name), show(o), show(n)})
		}
	}
}

// config descends while both sides have the same shape.
func (d *diff) config(field string, old, now any) {
	switch o := old.(type) {
	case map[string]any:
		if n, ok := now.(map[string]any); ok && !isSensitive(o) && !isSensitive(n) {
			for _, name := range unionKeys(o, n) {
				d.config(step(field, name), value(o, name), value(n, name))
			}
			return
		}
	case []any:
		if n, ok := now.([]any); ok && len(n) == len(o) {
			for i := range o {
				d.config(fmt.Sprintf("%s[%d]", field, i), o[i], n[i])
			}
			return
		}
	}
	if a, b := canonical(old), canonical(now); a != b {
		d.changes = append(d.changes, Change{field, redacted(old), redacted(now)})
	}
}

type absent struct{}

func value(m map[string]any, name string) any {
	if v, ok := m[name]; ok {
		return v
	}
	return absent{}
}

func decode(raw json.RawMessage) any {
	v, err := decodeJSON(raw)
	if err != nil {
		return string(raw)
	}
	if v == nil {
		return map[string]any{} // no configuration is an empty one
	}
	return v
}

func canonical(v any) string {
	var b bytes.Buffer
	writeCanonical(&b, v) // nothing for absent
	return b.String()
}

// redacted is canonical without the HMACs of sensitive values.
func redacted(v any) string { return canonical(redact(v)) }

func redact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if isSensitive(v) {
			return "(sensitive)"
		}
		out := make(map[string]any, len(v))
		for name, e := range v {
			out[name] = redact(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = redact(e)
		}
		return out
	}
	return v
}

func isSensitive(m map[string]any) bool {
	_, ok := m[sensitiveKey]
	return ok && len(m) == 1
}

func unionKeys[V any](a, b map[string]V) []string {
	all := make(map[string]bool, len(a)+len(b))
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// step appends a name to a path, quoted when it is no identifier.
func step(field, name string) string {
	for i, c := range []byte(name) {
		if c != '_' && c != '-' && c != '.' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return field + "[" + strconv.Quote(name) + "]"
		}
	}
	if name == "" {
		return field + `[""]`
	}
	return field + "." + name
}

// short cuts a digest for reading.
func short(digest string) string {
	if len(digest) > 12 {
		return digest[:12] + "…"
	}
	return digest
}

// Diff tells how a key differs from an older one, field by field; nil when it does not.
func Diff(old, now Key) []Change {
	if old.Sum() == now.Sum() {
		return nil
	}
	return diffKeys(old, now)
}
