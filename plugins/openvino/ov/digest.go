package ov

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// receipt is what `optimize init` leaves beside an installed library.
type receipt struct {
	Files []struct {
		Path   string `json:"path"`
		Size   int64  `json:"size"`
		MTime  int64  `json:"mtime_ns"`
		SHA256 string `json:"sha256"`
	} `json:"files"`
}

func readReceipt(dir string) (receipt, bool) {
	var r receipt
	b, err := os.ReadFile(filepath.Join(dir, "install.json"))
	return r, err == nil && json.Unmarshal(b, &r) == nil
}

// Digest tells releases and builds apart, in lower-case hex: a SHA-256 over the names and contents of the files that read
// and write models and run them on a CPU, and over the names and sizes of the other devices' libraries, which are too
// large to be read for each plan. Contents are taken from the installer's receipt where the files are as it says.
func (l Library) Digest() (string, error) {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return "", fmt.Errorf("OpenVINO's folder cannot be read: %w", err)
	}
	r, _ := readReceipt(l.Dir)
	all := sha256.New()
	for _, e := range entries {
		n, path := e.Name(), filepath.Join(l.Dir, e.Name())
		device := strings.HasPrefix(n, "libopenvino_") && strings.HasSuffix(n, "_plugin.so")
		if !device && !slices.Contains(l.files, path) {
			continue
		}
		st, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a link that leads nowhere
		}
		if err != nil {
			return "", fmt.Errorf("OpenVINO's library cannot be read: %w", err)
		}
		sum := ""
		for _, f := range r.Files {
			if f.Path == n && f.Size == st.Size() && f.MTime == st.ModTime().UnixNano() && len(f.SHA256) == 64 {
				sum = f.SHA256
			}
		}
		switch {
		case sum != "":
		case device && !strings.HasSuffix(n, "_cpu_plugin.so"):
			sum = fmt.Sprint(st.Size())
		default:
			if sum, err = hashFile(path); err != nil {
				return "", fmt.Errorf("OpenVINO's library cannot be read: %w", err)
			}
		}
		fmt.Fprintf(all, "%s %s\n", n, sum)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
