package cache

import (
	"fmt"
	"strconv"
)

// Part is one field of a key, for reading.
type Part struct {
	// Field is a path as in [Change]: "config.per_channel".
	Field string `json:"field"`
	// Value is JSON for configuration and text else; a sensitive value shows as "(sensitive)".
	Value string `json:"value"`
}

// Parts lists the fields of a key that have a value. Digests are whole.
func (k Key) Parts() []Part {
	var out []Part
	add := func(field, value string) {
		if value != "" {
			out = append(out, Part{field, value})
		}
	}
	add("step_type", k.StepType)
	add("plugin", k.Plugin)
	add("plugin_version", k.PluginVersion)
	add("plugin_digest", k.PluginDigest)
	add("revision", fmt.Sprint(k.Revision))
	var walk func(field string, v any)
	walk = func(field string, v any) {
		if m, ok := v.(map[string]any); ok && !isSensitive(m) && len(m) > 0 {
			for _, name := range unionKeys(m, nil) {
				walk(step(field, name), m[name])
			}
			return
		}
		add(field, redacted(v))
	}
	if config := decode(k.Config); canonical(config) != "{}" {
		walk("config", config)
	}
	for _, name := range unionKeys(k.Inputs, nil) {
		add(step("inputs", name), k.Inputs[name])
	}
	for _, name := range unionKeys(k.Fingerprint, nil) {
		add(step("fingerprint", name), k.Fingerprint[name])
	}
	add("platform", k.Platform)
	add("seed", strconv.FormatUint(k.Seed, 10))
	return out
}
