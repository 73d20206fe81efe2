package host

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// passed are the variables that a plugin gets from the host's environment: what it needs to find its files and the
// network. The rest stays here, since it holds the user's secrets, and would be input that no cache key knows.
var passed = []string{
	"PATH", "HOME", "TMPDIR", "LANG", "LC_*", "TZ", "LD_LIBRARY_PATH", "DYLD_*",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"OPTIMIZE_DATA", "OPTIMIZE_CACHE", "OPTIMIZE_ONNXRUNTIME", "OPTIMIZE_ONNXRUNTIME_VERSION", "OPTIMIZE_OPENVINO", "XDG_DATA_HOME", "XDG_CACHE_HOME",
	"GOCOVERDIR", "GOMEMLIMIT",
}

// passedOnWindows are those without which a Windows program does not even start.
var passedOnWindows = []string{
	"SystemRoot", "SystemDrive", "windir", "ComSpec", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA",
	"ProgramData", "ProgramFiles", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE",
}

// environ picks from environ what the allow-list and extra name. An extra with "=" is set as it stands.
func environ(environ, extra []string) []string {
	return filterEnv(environ, extra, runtime.GOOS == "windows")
}

func filterEnv(environ, extra []string, windows bool) []string {
	names := slices.Clone(passed)
	if windows {
		names = append(names, passedOnWindows...)
	}
	var set []string
	for _, e := range extra {
		if strings.Contains(e, "=") {
			set = append(set, e)
		} else {
			names = append(names, e)
		}
	}
	var out []string
	for _, kv := range environ {
		k, _, ok := strings.Cut(kv, "=")
		if ok && k != "" && slices.ContainsFunc(names, func(n string) bool { return matches(n, k, windows) }) {
			out = append(out, absolute(k, kv))
		}
	}
	return append(out, set...)
}

// absolute makes a folder's path in kv absolute: a plugin works in a folder of its own.
func absolute(k, kv string) string {
	if !slices.Contains([]string{"TMPDIR", "TMP", "TEMP", "OPTIMIZE_DATA", "OPTIMIZE_CACHE", "OPTIMIZE_ONNXRUNTIME", "OPTIMIZE_OPENVINO", "SSL_CERT_FILE", "SSL_CERT_DIR"}, k) {
		return kv
	}
	v := kv[len(k)+1:]
	if abs, err := filepath.Abs(v); err == nil && v != "" {
		return k + "=" + abs
	}
	return kv
}

func matches(pattern, name string, fold bool) bool {
	if fold {
		pattern, name = strings.ToUpper(pattern), strings.ToUpper(name)
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

func (m *Manager) pluginEnv() []string {
	return append(environ(os.Environ(), m.opts.Env), pluginv1.HostPIDVariable+"="+strconv.Itoa(os.Getpid()))
}
