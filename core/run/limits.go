package run

import (
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// ParseSize reads a number of bytes with an optional unit: "800MB", "1.5 GiB", "4g". A single letter is a power of
// 1024, as people mean it for memory.
func ParseSize(s string) (int64, error) {
	text := strings.TrimSpace(s)
	i := strings.LastIndexFunc(text, func(r rune) bool { return r == '.' || '0' <= r && r <= '9' }) + 1
	n, err := strconv.ParseFloat(text[:i], 64)
	unit, known := map[string]float64{
		"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
		"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	}[strings.ToLower(strings.TrimSpace(text[i:]))]
	if err != nil || !known || n*unit < 1 || n*unit > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is not a size: write a number with its unit, such as 800MB or 4GiB", s)
	}
	return int64(n * unit), nil
}

// DefaultLimits are those of this machine: as many actions as cores, all cores, and the memory that is free now, within
// what the container may use. Memory is 0 where the system does not tell.
func DefaultLimits() Limits {
	cores := runtime.GOMAXPROCS(0)
	return Limits{Parallelism: max(2, cores), Cores: int64(cores), Memory: freeMemory("/")}
}

// freeMemory reads Linux's files below root, which is "/" but in tests.
func freeMemory(root string) int64 {
	free := meminfo(filepath.Join(root, "proc/meminfo"))
	if c := cgroupFree(root); c > 0 && (free == 0 || c < free) {
		free = c
	}
	return free
}

func meminfo(file string) int64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// cgroupFree is what is left of the tightest bound on this process's control group and those above it; 0 without one.
func cgroupFree(root string) int64 {
	data, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	free := int64(0)
	look := func(dir, limit, usage, cached string) {
		most := number(filepath.Join(dir, limit))
		if most <= 0 || most > 1<<60 { // "max", or version 1's way to say it
			return
		}
		// Pages of files that nobody used lately are given up when memory is needed.
		used := number(filepath.Join(dir, usage)) - statOf(filepath.Join(dir, "memory.stat"), cached)
		if left := max(1, most-max(0, used)); free == 0 || left < free {
			free = left
		}
	}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for p := path.Clean("/" + f[2]); ; p = path.Dir(p) {
			switch {
			case f[0] == "0":
				look(filepath.Join(root, "sys/fs/cgroup", p), "memory.max", "memory.current", "inactive_file")
			case strings.Contains(","+f[1]+",", ",memory,"):
				look(filepath.Join(root, "sys/fs/cgroup/memory", p), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
			}
			if p == "/" {
				break
			}
		}
	}
	return free
}

func number(file string) int64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func statOf(file, name string) int64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64) // 0 is right for what cannot be read
			return n
		}
	}
	return 0
}
