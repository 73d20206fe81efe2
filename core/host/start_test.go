//go:build unix

package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

func TestStartErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	plain := filepath.Join(dir, "plain")
	if err := errors.Join(os.WriteFile(script, []byte("#!/nonexistent/interpreter\n"), 0o755), os.WriteFile(plain, []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command []string
		want    string
	}{
		"missing":     {[]string{filepath.Join(dir, "none")}, "does not exist: run `optimize init`"},
		"interpreter": {[]string{script}, "lacks"},
		"mode":        {[]string{plain}, "may not be executed"},
		"ends":        {[]string{"/bin/sh", "-c", "echo no plugin here >&2; exit 4"}, "exit status 4"},
		"ends well":   {[]string{"/bin/sh", "-c", "echo hi"}, "exit status 0"},
		"silent":      {[]string{os.Args[0], asSilent}, "did not answer within 1s"},
		"future":      {[]string{os.Args[0], asFuture}, "plugin fake 1.2.3 speaks plugin protocol 7, but optimize 0.1.0 speaks 1: use a newer optimize"},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewManager(Options{StartTimeout: time.Second, Version: "0.1.0"})
			if name != "silent" {
				m.opts.StartTimeout = 20 * time.Second
			}
			defer m.Close(context.Background())
			_, err := m.Plugin(t.Context(), Ref{Name: "fake", Version: "1.2.3", Command: c.command})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	m := NewManager(Options{})
	defer m.Close(context.Background())
	ref := fakeRef(asPlugin)
	ref.Name = "other"
	if _, err := m.Describe(t.Context(), ref); err == nil || !strings.Contains(err.Error(), `calls itself "fake"`) {
		t.Error(err)
	}
	ref.Name = "../up"
	if _, err := m.Describe(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "no plugin name") {
		t.Error(err)
	}
}

func TestCloseEndsAStart(t *testing.T) {
	m := NewManager(Options{})
	got := make(chan error, 1)
	go func() {
		_, err := m.Plugin(context.Background(), Ref{Name: "fake", Command: []string{os.Args[0], asSilent}})
		got <- err
	}()
	eventually(t, "not started", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.entries) == 1 })
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	m.Close(t.Context())
	if err := <-got; !errors.Is(err, errClosed) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

// A memo may be anything: another program's file, half a write, a disk's fault.
func FuzzMemo(f *testing.F) {
	body, err := proto.Marshal(&pluginv1.DescribeResponse{Name: "fake", Version: "1"})
	if err != nil {
		f.Fatal(err)
	}
	sum := sha256.Sum256(body)
	f.Add(append(append([]byte(memoMagic), sum[:]...), body...))
	f.Add([]byte(memoMagic))
	f.Add([]byte{})
	m := NewManager(Options{MemoDir: f.TempDir()})
	ref := fakeRef(asPlugin)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(m.memo(ref), b, 0o644); err != nil {
			t.Fatal(err)
		}
		if d, ok := m.remembered(ref); ok && d.GetName() != "fake" {
			t.Errorf("%v", d)
		}
	})
}

func TestProtocolOf(t *testing.T) {
	for line, want := range map[string]int{
		"1|1|unix|/tmp/plugin1|grpc|MII": 1, "1|7|tcp|127.0.0.1:1234|grpc|": 7,
		"": 0, "hello": 0, "1|1|unix": 0, "1|x|unix|/a|grpc": 0, " 1|1|unix|/a|grpc": 0, "1|1|http|/a|grpc|": 0, "1|99999999999999999999|unix|/a|grpc|": 0,
	} {
		got, ok := protocolOf(line)
		if ok != (want != 0) || ok && got != want {
			t.Errorf("%q: %d, %v", line, got, ok)
		}
	}
}
