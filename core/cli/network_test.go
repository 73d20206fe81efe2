package cli_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/optimize-hcl/optimize/core/install"
)

// looks are the commands that nobody asks for the network; each works on the digit recipe. Those of a later version of
// the command that this list lacks make TestNoNetwork fail.
var looks = [][]string{
	{"version", "--json"},
	{"help"},
	{"completion", "bash"},
	{"docs"},
	{"plugin", "list"},
	{"plugin", "docs", "quantize"},
	{"plugin", "new", "acme"},
	{"plugin", "check", "quantize", "--only", "describe"},
	{"fmt", "--check", "recipe.hcl"},
	{"validate", "recipe.hcl"},
	{"init", "recipe.hcl"}, // the library is there already
	{"plan", "recipe.hcl"},
	{"apply", "recipe.hcl"},
	{"apply", "recipe.hcl", "--reuse-benchmarks", "--json"},
	{"inspect", "digits.onnx"},
	{"runs"},
	{"show", "latest"},
	{"graph", "recipe.hcl"},
	{"console", "recipe.hcl"},
	{"cache", "ls"},
	{"cache", "explain", "int8", "recipe.hcl"},
	{"cache", "verify"},
	{"cache", "dir"},
	{"cache", "gc", "--keep", "1h"},
}

// TestNoNetwork runs every command in a namespace without a network, where each must work as ever, and looks at its
// system calls: nothing but unix sockets may be made. One run is long, since ONNX Runtime's telemetry, where it is not
// switched off, waits nine seconds before it looks for its collector.
func TestNoNetwork(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("network namespaces are Linux's")
	}
	var wrap []string
	if netns() {
		wrap = []string{"unshare", "-rn"}
	}
	p := newPlace(t)
	calls := filepath.Join(p.dir, "calls")
	if _, err := exec.LookPath("strace"); err == nil {
		wrap = append(wrap, "strace", "-f", "-o", calls, "-e", "trace=socket,connect,bind,listen,sendto")
		if exec.Command(wrap[0], append(wrap[1:], "true")...).Run() != nil {
			t.Skip("NOT TESTED: this machine lets nobody trace system calls")
		}
	} else if wrap == nil {
		t.Skip("NOT TESTED: this machine has neither strace nor network namespaces")
	} else {
		t.Log("NOT TESTED: that nothing tries the network; strace is not installed. That everything works without one is tested")
	}
	home := filepath.Join(p.dir, "home")
	p.env = append(p.env, "HOME="+home, "XDG_CACHE_HOME=", "XDG_DATA_HOME=")
	known := commands(t, p)
	for _, name := range known {
		if !slices.ContainsFunc(looks, func(l []string) bool { return strings.HasPrefix(strings.Join(l, " ")+" ", name+" ") }) && name != "plugin serve" {
			t.Errorf("`optimize %s` is not among the commands that this test runs", name)
		}
	}
	b, err := os.ReadFile(filepath.Join(p.dir, "recipe.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Replace(string(b), "threads = 1", "threads  = 1\n    duration = \"12s\"", 1)
	if err := os.WriteFile(filepath.Join(p.dir, "long.hcl"), []byte(long), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range append(slices.Clone(looks), []string{"apply", "long.hcl"}) {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(strings.Join(args, " ")+" ", k+" ") }) {
			t.Logf("NOT TESTED: there is no command for `optimize %s`", strings.Join(args, " "))
			continue
		}
		line := append(slices.Clone(wrap), binary)
		c := exec.Command(line[0], append(line[1:], args...)...)
		c.Dir, c.Env = p.dir, p.env
		var out bytes.Buffer
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader("1 + 1\n"), &out, &out
		if err := c.Run(); err != nil {
			t.Errorf("optimize %s without a network: %v\n%s", strings.Join(args, " "), err, &out)
		}
		trace, err := os.ReadFile(calls)
		if err != nil {
			continue // no strace
		}
		for _, call := range strings.Split(string(trace), "\n") {
			if strings.Contains(call, "AF_INET") || strings.Contains(call, "AF_PACKET") {
				t.Errorf("optimize %s tries the network: %s", strings.Join(args, " "), call)
			}
		}
		if args[0] == "apply" && !bytes.Contains(trace, []byte("AF_UNIX")) {
			t.Errorf("optimize %s: no unix socket was seen; does the trace still work?", strings.Join(args, " "))
		}
	}
	// The identity that the engine would make for its telemetry.
	if left, _ := filepath.Glob(filepath.Join(home, ".cache", "*")); len(left) > 0 {
		t.Errorf("in the home: %v", left)
	}
}

// commands are the names of all commands, as the shell's completion tells them.
func commands(t *testing.T, p *place) []string {
	t.Helper()
	var out []string
	var walk func(path []string)
	walk = func(path []string) {
		words := slices.Concat([]string{"__complete"}, path, []string{""})
		c := exec.Command(binary, words...)
		c.Dir, c.Env = p.dir, p.env
		b, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(b), "\n") {
			name, _, described := strings.Cut(line, "\t")
			if !described || strings.HasPrefix(name, ":") || len(path) > 0 && !slices.Contains([]string{"cache", "plugin"}, path[0]) {
				continue
			}
			out = append(out, strings.Join(append(slices.Clone(path), name), " "))
			if len(path) == 0 && (name == "cache" || name == "plugin") {
				walk([]string{name})
			}
		}
	}
	walk(nil)
	if !slices.Contains(out, "apply") {
		t.Fatalf("the completion tells of %v", out)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "cache" || s == "plugin" })
}

// asked is a server that notes what it was asked for, as a proxy or directly.
type asked struct {
	mu   sync.Mutex
	urls []string
	http.Handler
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.urls = append(a.urls, r.Method+" "+r.URL.String())
	a.mu.Unlock()
	a.Handler.ServeHTTP(w, r)
}

func (a *asked) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.urls
	a.urls = nil
	return out
}

// without drops variables from an environment.
func without(env []string, prefixes ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(strings.ToUpper(kv), p) })
	})
}

var proxyVariables = []string{"HTTP_PROXY=", "HTTPS_PROXY=", "ALL_PROXY=", "NO_PROXY=", "PIP_", "UV_"}

// TestInitThroughProxy serves a package index of its own, whose package is not the pinned one: init reaches it through
// the proxy or past it, as the variables say, and refuses what it gets.
func TestInitThroughProxy(t *testing.T) {
	if _, err := exec.LookPath("pip"); err != nil {
		t.Skip("pip is not installed")
	}
	spec := install.Runtimes[0]
	w, ok := spec.Wheels[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		t.Skip("no wheel for this platform")
	}
	py := "cp" + strings.ReplaceAll(spec.PythonVersion, ".", "")
	name := strings.Join([]string{spec.Package, spec.Version, py, py, w.Tag}, "-") + ".whl"
	wheel := fakeWheel(t, spec.Package, spec.Version, py+"-"+py+"-"+w.Tag)
	index := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/simple/"+spec.Package+"/"):
			rw.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(rw, `<!DOCTYPE html><html><body><a href="../../files/%s">%s</a></body></html>`, name, name)
		case strings.HasSuffix(r.URL.Path, name):
			_, _ = rw.Write(wheel)
		default:
			http.NotFound(rw, r)
		}
	})
	proxy, direct := &asked{Handler: index}, &asked{Handler: index}
	proxyServer, directServer := httptest.NewServer(proxy), httptest.NewServer(direct)
	defer proxyServer.Close()
	defer directServer.Close()

	p := newPlace(t)
	base := append(without(p.env, append(proxyVariables, "OPTIMIZE_DATA=", "OPTIMIZE_ONNXRUNTIME=")...),
		"OPTIMIZE_DATA="+filepath.Join(p.dir, "data"), "PIP_CONFIG_FILE="+os.DevNull, "PIP_RETRIES=0", "PIP_NO_CACHE_DIR=1")
	refused := func(out string) {
		t.Helper()
		if !strings.Contains(strings.Join(strings.Fields(out), " "), "is not the pinned "+spec.Title) {
			t.Errorf("the message does not speak of what is pinned:\n%s", out)
		}
		if _, err := os.Stat(filepath.Join(p.dir, "data/runtimes", spec.Name)); err == nil {
			t.Error("a package with another digest was installed")
		}
	}

	// Nobody knows the host: only the proxy can.
	p.env = append(slices.Clone(base), "HTTP_PROXY="+proxyServer.URL, "http_proxy="+proxyServer.URL,
		"PIP_INDEX_URL=http://index.invalid/simple", "PIP_TRUSTED_HOST=index.invalid")
	refused(p.run(t, 1, "init", "recipe.hcl"))
	if got := proxy.take(); !slices.Contains(got, "GET http://index.invalid/simple/"+spec.Package+"/") || !slices.Contains(got, "GET http://index.invalid/files/"+name) {
		t.Errorf("the proxy was asked for %q", got)
	}

	if uv, err := exec.LookPath("uv"); err != nil {
		t.Log("NOT TESTED: the way of uv; it is not installed")
	} else {
		python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
		if err != nil {
			t.Fatal(err)
		}
		only := t.TempDir() // where pip is not
		if err := os.Symlink(uv, filepath.Join(only, "uv")); err != nil {
			t.Fatal(err)
		}
		p.env = append(without(base, "PATH="), "PATH="+only, "HOME="+t.TempDir(), "HTTP_PROXY="+proxyServer.URL, "http_proxy="+proxyServer.URL,
			"UV_DEFAULT_INDEX=http://index.invalid/simple", "UV_INSECURE_HOST=index.invalid", "UV_NO_CACHE=1", "UV_HTTP_RETRIES=0",
			"UV_PYTHON="+strings.TrimSpace(string(python)))
		out := p.run(t, 1, "init", "recipe.hcl")
		if got := proxy.take(); !slices.Contains(got, "GET http://index.invalid/simple/"+spec.Package+"/") {
			t.Errorf("uv asked the proxy for %q\n%s", got, out)
		}
	}

	// NO_PROXY: past a proxy that would answer.
	host := strings.TrimPrefix(directServer.URL, "http://")
	host, _, _ = strings.Cut(host, ":")
	p.env = append(slices.Clone(base), "HTTP_PROXY="+proxyServer.URL, "http_proxy="+proxyServer.URL, "NO_PROXY="+host, "no_proxy="+host,
		"PIP_INDEX_URL="+directServer.URL+"/simple", "PIP_TRUSTED_HOST="+host)
	refused(p.run(t, 1, "init", "recipe.hcl"))
	if got := direct.take(); !slices.Contains(got, "GET /simple/"+spec.Package+"/") {
		t.Errorf("the index was asked for %q", got)
	}
	if got := proxy.take(); len(got) > 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// fakeWheel is a wheel that pip takes, with nothing in it.
func fakeWheel(t *testing.T, name, version, tag string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := fmt.Sprintf("%s-%s.dist-info/", name, version)
	for _, f := range [][2]string{
		{info + "METADATA", fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version)},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: " + tag + "\n"},
		{info + "RECORD", ""},
	} {
		w, err := z.Create(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSpansThroughProxy sends spans to a collector whose host only the proxy knows, and with NO_PROXY past the proxy.
func TestSpansThroughProxy(t *testing.T) {
	proxy := &asked{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/x-protobuf") })}
	server := httptest.NewServer(proxy)
	defer server.Close()
	p := newPlace(t)
	base := append(without(p.env, proxyVariables...), "HTTP_PROXY="+server.URL, "http_proxy="+server.URL,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.invalid:4318")
	p.env = base
	out := p.run(t, 0, "apply", "recipe.hcl")
	if got := proxy.take(); !slices.Contains(got, "POST http://collector.invalid:4318/v1/traces") {
		t.Errorf("the proxy was asked for %q\n%s", got, out)
	}
	if strings.Contains(out, "Warning") {
		t.Error(out)
	}
	p.env = append(slices.Clone(base), "NO_PROXY=collector.invalid", "no_proxy=collector.invalid")
	out = p.run(t, 0, "apply", "recipe.hcl", "--reuse-benchmarks")
	if got := proxy.take(); len(got) > 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
	if n := len(regexp.MustCompile(`(?m)^Warning: not all spans reached the collector`).FindAllString(out, -1)); n != 1 {
		t.Errorf("%d warnings\n%s", n, out)
	}
}
