package install

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	pipEnv       = "OPTIMIZE_TEST_PIP"
	installerEnv = "OPTIMIZE_TEST_INSTALLER"
	platform     = "test/cpu"
)

// TestMain plays pip, uv or an installer that gets killed, when a test re-executes the binary for that.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(pipEnv) != "":
		os.Exit(playTool(os.Getenv(pipEnv), os.Args[1:]))
	case os.Getenv(installerEnv) != "":
		data, from, _ := strings.Cut(os.Getenv(installerEnv), "|")
		spec, _ := fakeSpec()
		for {
			if _, err := Install(context.Background(), Options{DataDir: data, From: from, spec: &spec, platform: platform}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Truncate(filepath.Join(data, "runtimes", "fake", "1.2.3", "libfake.so"), 1) // damage it, so that it is brought again
		}
	}
	os.Exit(m.Run())
}

// playTool is a pip or uv in one of several moods.
func playTool(mood string, args []string) int {
	say := func(s string) int { fmt.Fprintln(os.Stderr, s); return 1 }
	after := func(flag string) string {
		for i, a := range args {
			if a == flag {
				return args[i+1]
			}
		}
		return ""
	}
	spec, wheel := fakeSpec()
	switch mood {
	case "absent":
		return say("/usr/bin/python3: No module named pip")
	case "offline":
		return say("WARNING: Retrying (Retry(total=0)) after connection broken\nERROR: Could not find a version at https://user:hunter2@mirror.example/simple\nERROR: No matching distribution found for fake==1.2.3\n[notice] A new release of pip")
	case "hang":
		time.Sleep(time.Minute)
	case "empty":
		return 0
	case "uv":
		dest := after("--target")
		text, _ := os.ReadFile(after("--requirement"))
		if strings.TrimSpace(string(text)) != "fake==1.2.3 --hash=sha256:"+spec.Wheels[platform].SHA256 {
			return say("error: requirements: " + string(text))
		}
		for name, content := range fakeFiles() {
			path := filepath.Join(dest, filepath.FromSlash(name))
			os.MkdirAll(filepath.Dir(path), 0o755)
			os.WriteFile(path, []byte(content), 0o644)
		}
		return 0
	case "wrong":
		wheel = append(bytes.Clone(wheel), 0)
	}
	dest := after("--dest")
	if after("--platform") != "test_cpu" || after("--python-version") != "3.11" || args[len(args)-1] != "fake==1.2.3" {
		return say(fmt.Sprint("ERROR: arguments ", args))
	}
	if wd, _ := os.Getwd(); filepath.Dir(dest) != wd {
		return say("ERROR: not in the folder of its own: " + wd)
	}
	os.MkdirAll(dest, 0o755)
	os.WriteFile(filepath.Join(dest, spec.wheelName(spec.Wheels[platform])), wheel, 0o644)
	return 0
}

func fakeFiles() map[string]string {
	return map[string]string{
		"fake/capi/libfake.so": strings.Repeat("library ", 100000), "fake/LICENSE": "MIT", "fake/__init__.py": "raise SystemExit",
		"../escape": "outside", "fake-1.2.3.dist-info/RECORD": "",
	}
}

// fakeSpec is a runtime whose pins fit a small wheel.
func fakeSpec() (Runtime, []byte) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	files := fakeFiles()
	for _, name := range []string{"fake/capi/libfake.so", "fake/LICENSE", "fake/__init__.py", "../escape", "fake-1.2.3.dist-info/RECORD"} {
		w, _ := z.Create(name)
		w.Write([]byte(files[name]))
	}
	z.Close()
	pin := func(name string) File { return File{name, int64(len(files[name])), digest(files[name])} }
	return Runtime{
		Name: "fake", Title: "Fake", Version: "1.2.3", Package: "fake", PythonVersion: "3.11", Variable: "OPTIMIZE_FAKE",
		Wheels: map[string]Wheel{platform: {Tag: "test_cpu", UVPlatform: "test-cpu", SHA256: digest(b.String()), Files: []File{pin("fake/capi/libfake.so"), pin("fake/LICENSE")}}},
	}, b.Bytes()
}

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func fakeTool(t *testing.T, mood string) tool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return tool{command: []string{self}, uv: strings.HasPrefix(mood, "uv"), env: []string{pipEnv + "=" + mood}}
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkClean makes sure that a failed install left nothing.
func checkClean(t *testing.T, data string) {
	t.Helper()
	entries, _ := os.ReadDir(filepath.Join(data, "runtimes"))
	for _, e := range entries {
		t.Errorf("left in runtimes: %s", e.Name())
	}
}

func TestInstallFromTools(t *testing.T) {
	spec, _ := fakeSpec()
	for name, c := range map[string]struct {
		moods []string
		want  string // of the error; empty for success
	}{
		"pip":                 {[]string{"good"}, ""},
		"second pip":          {[]string{"absent", "good"}, ""},
		"uv":                  {[]string{"absent", "uv"}, ""},
		"uv after failed pip": {[]string{"offline", "wrong", "uv"}, ""},
		"wrong wheel":         {[]string{"wrong", "uv"}, "is not the pinned Fake 1.2.3"},
		"offline":             {[]string{"absent", "offline"}, "ERROR: No matching distribution found for fake==1.2.3"},
		"success of nothing":  {[]string{"empty"}, "left 0 wheels"},
		"none":                {[]string{"absent"}, "neither pip nor uv was found"},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			var tools []tool
			for _, m := range c.moods {
				tools = append(tools, fakeTool(t, m))
			}
			tools = append(tools, tool{command: []string{"optimize-test-no-such-program"}})
			o := Options{DataDir: data, spec: &spec, platform: platform, tools: tools}
			r, err := Install(context.Background(), o)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
					t.Fatalf("error %v, want %q", err, c.want)
				}
				checkClean(t, data)
				return
			}
			if err != nil || !r.Fresh {
				t.Fatal(r, err)
			}
			checkInstalled(t, data, spec, r)
			if again, err := Install(context.Background(), Options{DataDir: data, spec: &spec, platform: platform, tools: []tool{}}); err != nil || again.Fresh || again.Library != r.Library {
				t.Fatal("installed again", again, err)
			}
		})
	}
}

func checkInstalled(t *testing.T, data string, spec Runtime, r Result) {
	t.Helper()
	if r.Dir != filepath.Join(data, "runtimes", "fake", "1.2.3") || r.Library != filepath.Join(r.Dir, "libfake.so") {
		t.Fatalf("%+v", r)
	}
	entries, _ := os.ReadDir(r.Dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "LICENSE install.json libfake.so" {
		t.Fatalf("the folder holds %s", got)
	}
	var receipt Receipt
	text, _ := os.ReadFile(filepath.Join(r.Dir, "install.json"))
	if err := json.Unmarshal(text, &receipt); err != nil || receipt.Name != "fake" || receipt.Version != "1.2.3" {
		t.Fatal(string(text), err)
	}
	info, _ := os.Stat(r.Library)
	pin := spec.Wheels[platform].Files[0]
	if want := (ReceiptFile{"libfake.so", pin.Size, info.ModTime().UnixNano(), pin.SHA256}); receipt.Files[0] != want {
		t.Fatalf("receipt %+v, want %+v", receipt.Files[0], want)
	}
	for _, p := range []string{filepath.Join(data, "runtimes", "escape"), filepath.Join(data, "runtimes", ".tmp"), filepath.Join(data, "runtimes", ".lock")} {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("%s is there", p)
		}
	}
}

func TestInstallFrom(t *testing.T) {
	spec, wheel := fakeSpec()
	name := spec.wheelName(spec.Wheels[platform])
	library := []byte(fakeFiles()["fake/capi/libfake.so"])
	for title, c := range map[string]struct {
		make func(t *testing.T, dir string) (from string)
		want string
	}{
		"folder with wheel": {func(t *testing.T, dir string) string { put(t, filepath.Join(dir, name), wheel); return dir }, ""},
		"renamed wheel":     {func(t *testing.T, dir string) string { put(t, filepath.Join(dir, "fake-x.whl"), wheel); return dir }, ""},
		"the wheel itself":  {func(t *testing.T, dir string) string { p := filepath.Join(dir, "w"); put(t, p, wheel); return p }, ""},
		"unpacked": {func(t *testing.T, dir string) string {
			for n, content := range fakeFiles() {
				put(t, filepath.Join(dir, "sub", filepath.FromSlash(n)), []byte(content))
			}
			return filepath.Join(dir, "sub")
		}, ""},
		"damaged wheel": {func(t *testing.T, dir string) string { put(t, filepath.Join(dir, name), wheel[:100]); return dir }, "is not the pinned Fake 1.2.3 for test/cpu"},
		"random bytes": {func(t *testing.T, dir string) string {
			p := filepath.Join(dir, "w")
			put(t, p, []byte("PK\x03\x04"))
			return p
		}, "is not the pinned"},
		"other library": {func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "libfake.so"), library[1:])
			return dir
		}, "set OPTIMIZE_FAKE"},
		"larger library": {func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "lib", "libfake.so"), append(library, 'x'))
			return dir
		}, "is not the pinned"},
		"wheel for another": {func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "fake-1.2.3-cp311-cp311-win.whl"), []byte("x"))
			return dir
		}, "it holds fake-1.2.3-cp311-cp311-win.whl"},
		"empty":  {func(t *testing.T, dir string) string { return dir }, "holds neither " + name + " nor libfake.so"},
		"absent": {func(t *testing.T, dir string) string { return filepath.Join(dir, "no") }, "does not exist"},
	} {
		t.Run(title, func(t *testing.T) {
			data := t.TempDir()
			from := c.make(t, t.TempDir())
			r, err := Install(context.Background(), Options{DataDir: data, From: from, spec: &spec, platform: platform})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				checkInstalled(t, data, spec, r)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			checkClean(t, data)
		})
	}
}

func TestSummary(t *testing.T) {
	for output, want := range map[string]string{
		"": "exit status 1",
		"Looking in links\nERROR: Could not find fake\nERROR: No matching distribution found for fake\n[notice] new pip": "ERROR: No matching distribution found for fake",
		"error: Failed to download `fake`\n  cause: Request failed\n  cause: Connection   refused\n":                     "error: Failed to download `fake`: Connection refused",
		"error: Failed at https://u:p@host.example/simple/fake/\n":                                                       "error: Failed at (address)",
		"Traceback\nKeyError: 'x'": "KeyError: 'x'",
	} {
		if got := summary(output, errors.New("exit status 1")); got != want {
			t.Errorf("%q gives %q, want %q", output, got, want)
		}
	}
}

// A bare copy of the library has no licence beside it; the rest is installed.
func TestInstallFromBareLibrary(t *testing.T) {
	spec, _ := fakeSpec()
	from, data := t.TempDir(), t.TempDir()
	put(t, filepath.Join(from, "libfake.so"), []byte(fakeFiles()["fake/capi/libfake.so"]))
	o := Options{DataDir: data, From: from, spec: &spec, platform: platform}
	r, err := Install(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	// Another modification time with the same bytes is no damage; other bytes are, and a missing receipt is.
	later := time.Now().Add(time.Hour)
	os.Chtimes(r.Library, later, later)
	if _, ok := installed(data, spec, platform); !ok {
		t.Error("a touched library was not recognised")
	}
	for _, damage := range []func(){
		func() { os.Truncate(r.Library, 3) }, func() { os.Remove(filepath.Join(r.Dir, "install.json")) },
		func() {
			os.WriteFile(filepath.Join(r.Dir, "install.json"), []byte(`{"name":"fake","version":"1.2.3","files":[]}`), 0o644)
		},
	} {
		damage()
		if _, ok := installed(data, spec, platform); ok {
			t.Error("a damaged runtime counts as installed")
		}
		if r, err := Install(context.Background(), o); err != nil || !r.Fresh {
			t.Error("it was not mended", r, err)
		}
	}
}

func TestInstallWrongUse(t *testing.T) {
	spec, _ := fakeSpec()
	if _, err := Install(context.Background(), Options{DataDir: t.TempDir(), Name: "tensorflow"}); err == nil || !strings.Contains(err.Error(), "there are: onnxruntime") {
		t.Error(err)
	}
	if _, err := Install(context.Background(), Options{DataDir: t.TempDir(), spec: &spec, platform: "plan9/mips"}); err == nil || !strings.Contains(err.Error(), "no package for plan9/mips: set OPTIMIZE_FAKE") {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	put(t, file, nil)
	if _, err := Install(context.Background(), Options{DataDir: file, spec: &spec, platform: platform}); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
}

func TestInstallStops(t *testing.T) {
	spec, _ := fakeSpec()
	data := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Install(ctx, Options{DataDir: data, spec: &spec, platform: platform, tools: []tool{fakeTool(t, "hang")}})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Fatal(err, time.Since(began))
	}
	checkClean(t, data)
}

func TestKill(t *testing.T) {
	spec, wheel := fakeSpec()
	data, from := t.TempDir(), filepath.Join(t.TempDir(), "w.whl")
	put(t, from, wheel)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	final := filepath.Join(data, "runtimes", "fake", "1.2.3")
	deadline := time.Now().Add(3 * time.Second)
	for round := 0; round < 25 && time.Now().Before(deadline); round++ {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), installerEnv+"="+data+"|"+from)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+rand.IntN(60)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if said.Len() > 0 {
			t.Fatal(said.String())
		}
		// Whole, or damaged by the installer's own hand (cut to one byte), or absent.
		if info, err := os.Stat(filepath.Join(final, "libfake.so")); err == nil && info.Size() != 1 {
			if _, ok := installed(data, spec, platform); !ok {
				t.Fatal("a half-installed runtime")
			}
		}
	}
	// What killed ones left is swept by the next that has work to do.
	if err := os.RemoveAll(final); err != nil {
		t.Fatal(err)
	}
	r, err := Install(context.Background(), Options{DataDir: data, From: from, spec: &spec, platform: platform})
	if err != nil {
		t.Fatal(err)
	}
	checkInstalled(t, data, spec, r)
}

// The real package, when there is a wheel at hand: a folder with it, or "download".
func TestRealPackage(t *testing.T) {
	from := os.Getenv("OPTIMIZE_TEST_WHEELS")
	if from == "" {
		t.Skip("OPTIMIZE_TEST_WHEELS is not set")
	}
	if from == "download" {
		from = ""
	}
	data := t.TempDir()
	began := time.Now()
	r, err := Install(context.Background(), Options{DataDir: data, Name: "onnxruntime", From: from, Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r, time.Since(began))
	began = time.Now()
	if again, ok := Installed(data, "onnxruntime"); !ok || again.Library != r.Library {
		t.Fatal("not recognised")
	}
	t.Log("recognised in", time.Since(began))
}

func TestRuntimesTable(t *testing.T) {
	for _, r := range Runtimes {
		for platform, w := range r.Wheels {
			if len(w.SHA256) != 64 || w.Tag == "" || w.UVPlatform == "" || len(w.Files) < 2 {
				t.Errorf("%s for %s is not pinned", r.Name, platform)
			}
			bases := map[string]bool{receiptName: true}
			for _, f := range w.Files {
				if len(f.SHA256) != 64 || f.Size <= 0 || bases[f.Base()] {
					t.Errorf("%s for %s: %s is not pinned, or twice", r.Name, platform, f.Path)
				}
				bases[f.Base()] = true
			}
			if !strings.Contains(filepath.Base(w.Files[0].Path), r.Name) {
				t.Errorf("%s for %s: %s is not the library", r.Name, platform, w.Files[0].Path)
			}
		}
	}
}

func TestCheckConstraint(t *testing.T) {
	for _, c := range []struct {
		constraint, version, want string
	}{
		{"", "0.1.0", ""}, {">= 0.1", "0.1.0", ""}, {">= 0.1, < 2", "1.9.3", ""}, {"~> 0.1.0", "0.1.9", ""}, {"0.1", "0.1.0", ""},
		{">= 0.1", "0.1.0-dev", ""}, {">= 0.2", "0.2.0-dev+abc", ""}, {">= 0.2.0-rc1", "0.2.0-beta1", "does not satisfy"},
		{">= 0.2", "0.1.0", `version 0.1.0 does not satisfy ">= 0.2"`}, {"~> 0.1.0", "0.2.0", "does not satisfy"},
		{"newest", "0.1.0", `"newest" is not a version constraint`}, {">=", "0.1.0", "is not a version constraint"}, {">= 1", "dev", `"dev" is not a version number`},
	} {
		err := CheckConstraint(c.constraint, c.version)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("CheckConstraint(%q, %q) = %v, want %q", c.constraint, c.version, err, c.want)
		}
	}
}

func TestDataDir(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	want, _ := filepath.Abs("x")
	if dir, err := DataDir(env(map[string]string{"OPTIMIZE_DATA": "x", "HOME": "/h"})); err != nil || dir != want {
		t.Error(dir, err)
	}
	if dir, err := DataDir(env(nil)); err == nil || !strings.Contains(err.Error(), "OPTIMIZE_DATA") {
		t.Error(dir, err)
	}
}
