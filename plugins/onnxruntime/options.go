package onnxruntime

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
)

const (
	codeOption   = "onnxruntime/unknown-option"
	codeProvider = "onnxruntime/provider"
)

// optionDocs are the options of the runtime, but for the settings of providers, which go by PROVIDER.SETTING.
var optionDocs = map[string]string{
	"providers": "execution providers, the first before the next: [\"OpenVINO\"]",
	"fallback":  "false makes a node that none of the providers takes an error",
	"threads":   "threads that share one operator, in place of the evaluation's",
	"optimize":  "false leaves the graph as it is in the model",
	"spin":      "true lets idle threads wait busily",
	"arena":     "false gives memory back after each run",
	"prepack":   "false keeps weights in the model's layout",
}

// engineOptions turns what a recipe says about the engine into ort's options. The defaults are those under which
// predictions and timings are made: the engine's full optimization, no busy waiting, which would burn other sessions'
// cores between runs and make timings depend on what else runs.
func engineOptions(given map[string]string, threads int) (ort.Options, error) {
	o := ort.Options{Threads: threads, Optimize: true, Arena: true, Prepack: true}
	settings := map[string]map[string]string{} // by provider, in small letters
	written := map[string]string{}             // the recipe's spelling of those
	var list []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		v := given[name]
		provider, setting, nested := strings.Cut(name, ".")
		var err error
		switch {
		case nested && optionDocs[provider] == "":
			key := providerKey(provider)
			if settings[key] == nil {
				settings[key], written[key] = map[string]string{}, provider
			}
			settings[key][setting] = v
		case name == "providers":
			if v != "" {
				list = strings.Split(v, ",")
			}
		case name == "threads":
			if o.Threads, err = strconv.Atoi(v); err != nil || o.Threads < 1 || o.Threads > 4096 {
				return o, badOption(name, fmt.Sprintf("the threads are not a whole number of at least 1, but %q", v), "Write threads = 2, or leave it out.")
			}
		case name == "fallback":
			var fallback bool
			fallback, err = flag(name, v)
			o.NoFallback = !fallback
		case name == "optimize":
			o.Optimize, err = flag(name, v)
		case name == "spin":
			o.Spin, err = flag(name, v)
		case name == "arena":
			o.Arena, err = flag(name, v)
		case name == "prepack":
			o.Prepack, err = flag(name, v)
		default:
			return o, badOption(provider, fmt.Sprintf("the runtime onnxruntime has no option %q", name), knownOptions())
		}
		if err != nil {
			return o, err
		}
	}
	seen := map[string]bool{}
	for _, name := range list {
		name = strings.TrimSpace(name)
		key := providerKey(name)
		if seen[key] {
			return o, badOption("providers", fmt.Sprintf("the provider %s is named twice", name), "Once is enough: remove one.")
		}
		seen[key] = true
		o.Providers = append(o.Providers, ort.ProviderNamed(name, settings[key]))
		delete(settings, key)
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		name := written[key]
		return o, badOption(name, fmt.Sprintf("%s has settings but is not among the providers", name),
			fmt.Sprintf("Write providers = [%q], or remove its settings. %s", name, knownOptions()))
	}
	if o.NoFallback && len(list) == 0 {
		return o, badOption("fallback", "fallback = false leaves nothing to run the model on", "Name the providers that shall run all of it: providers = [\"OpenVINO\"].")
	}
	return o, nil
}

// providerKey is a provider's name in one spelling.
func providerKey(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "ExecutionProvider"))
}

func flag(name, v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, badOption(name, fmt.Sprintf("%s is neither true nor false, but %q", name, v), fmt.Sprintf("Write %s = false, or leave it out.", name))
	}
	return b, nil
}

// badOption is an error at an argument of the engine block.
func badOption(name, summary, detail string) error {
	return sdk.Diagnostic{Path: []any{name}, Code: codeOption, Summary: summary, Detail: detail}
}

// knownOptions lists what there is.
func knownOptions() string {
	lines := make([]string, 0, len(optionDocs))
	for _, name := range slices.Sorted(maps.Keys(optionDocs)) {
		lines = append(lines, name+" ("+optionDocs[name]+")")
	}
	return "It takes " + strings.Join(lines, ", ") + ", and an object of settings under the name of each provider."
}

// fingerprintOf tells which provider libraries lie beside the engine's: another release of one gives other results. Names
// and sizes tell releases apart; the libraries of a GPU's provider are too large to be hashed for each plan.
func fingerprintOf(library string) (string, error) {
	entries, err := os.ReadDir(filepath.Dir(library))
	if err != nil {
		return "", fmt.Errorf("look for the libraries of providers: %w", err)
	}
	var parts []string
	for _, e := range entries {
		if !strings.Contains(e.Name(), ".so") && !strings.HasSuffix(e.Name(), ".dylib") && !strings.HasSuffix(e.Name(), ".dll") {
			continue
		}
		st, err := os.Stat(filepath.Join(filepath.Dir(library), e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // a link that leads nowhere
		}
		if err != nil {
			return "", fmt.Errorf("look for the libraries of providers: %w", err)
		}
		if st.Mode().IsRegular() {
			parts = append(parts, fmt.Sprintf("%s:%d", e.Name(), st.Size()))
		}
	}
	return strings.Join(parts, " "), nil
}

// providerNames lists those of o in their order, as the library spells them.
func providerNames(o ort.Options) []string {
	var names []string
	for _, p := range o.Providers {
		name, _ := p.Provider()
		names = append(names, name)
	}
	return names
}
