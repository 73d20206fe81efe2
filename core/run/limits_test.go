package run

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "512": 512, "2KB": 2000, "2 KiB": 2048, "1.5GiB": 3 << 29, "4g": 4 << 30, "800MB": 800e6, " 1 tb ": 1e12, "8G": 8 << 30,
	} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "GB", "-1GB", "0", "1.2.3MB", "12 parsecs", "1e400", "99999999TB", "NaN", "é", "5 GB GB"} {
		if got, err := ParseSize(bad); err == nil {
			t.Errorf("%q gave %d", bad, got)
		}
	}
}

func TestFreeMemory(t *testing.T) {
	write := func(t *testing.T, root string, files map[string]string) {
		t.Helper()
		for name, text := range files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	const info = "MemTotal:       16000 kB\nMemAvailable:   8000 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing known":    {nil, 0},
		"no control group": {map[string]string{"proc/meminfo": info}, 8000 << 10},
		"version 2, a limit above": {map[string]string{"proc/meminfo": info, "proc/self/cgroup": "0::/user/job\n",
			"sys/fs/cgroup/user/memory.max": "3000000\n", "sys/fs/cgroup/user/memory.current": "1500000\n", "sys/fs/cgroup/user/memory.stat": "anon 7\ninactive_file 500000\n",
			"sys/fs/cgroup/user/job/memory.max": "max\n"}, 2000000},
		"version 2, more than there is": {map[string]string{"proc/meminfo": info, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "99999999999\n"}, 8000 << 10},
		"version 1": {map[string]string{"proc/self/cgroup": "5:cpu,memory:/docker/x\n1:name=systemd:/\n",
			"sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "5000\n", "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": "1000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 4000},
		"full":    {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/memory.current": "2000\n"}, 1},
		"rubbish": {map[string]string{"proc/meminfo": "MemAvailable: lots\n", "proc/self/cgroup": "what\n0:::\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, c.files)
			if got := freeMemory(root); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
	if DefaultLimits().Parallelism < 2 {
		t.Error("fewer than two actions at once")
	}
}
