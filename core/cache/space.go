package cache

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Free is how many bytes may still be written to the store's disk. ok is false where the system does not tell.
func (s *Store) Free() (n int64, ok bool) { return freeSpace(s.dir) }

// Advice says what can be done about a full disk under the store in dir: how much lies where, and the command that frees
// some of it. needed is about how much is to be written; 0 is not known.
func Advice(dir string, needed int64) string {
	var size int64
	_ = walkFiles(context.Background(), filepath.Join(dir, "blobs"), func(path string) {
		if info, err := os.Lstat(path); err == nil {
			size += info.Size()
		}
	})
	free, known := freeSpace(dir)
	text := fmt.Sprintf("The cache %s holds %s", dir, sizeText(size, " "))
	if known {
		text += fmt.Sprintf(", and its disk has %s free", sizeText(free, " "))
	}
	if needed > 0 {
		text += fmt.Sprintf("; about %s is needed", sizeText(needed, " "))
	}
	const elsewhere = "set OPTIMIZE_CACHE to a folder on another disk."
	if size == 0 {
		return text + ". Free some space on its disk, or " + elsewhere
	}
	target := size / 2
	if lack := needed - free; known && needed > 0 && lack > 0 {
		target = max(0, size-lack-lack/10) // with some air
	}
	return text + fmt.Sprintf(". Free some with `optimize cache gc --max-size %s`, or %s", sizeText(target, ""), elsewhere)
}

// storeOf finds the store that a path lies in; "" when it is in none.
func storeOf(path string) string {
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if data, err := readBounded(filepath.Join(dir, "FORMAT")); err == nil {
			if strings.HasPrefix(string(data), formatPrefix) {
				return dir
			}
			return ""
		}
	}
	return ""
}

// sizeText writes a size in decimal units, rounded down to three digits, so that it is never more than there is.
func sizeText(n int64, space string) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i, unit := 0, int64(1)
	for i < len(units)-1 && n/unit >= 1000 {
		unit *= 1000
		i++
	}
	whole := n / unit
	places := max(0, 3-len(strconv.FormatInt(whole, 10)))
	if i == 0 {
		places = 0
	}
	text := strconv.FormatInt(whole, 10)
	if rest := strconv.FormatInt(1000+n%unit*1000/unit, 10)[1 : 1+min(places, 3)]; strings.Trim(rest, "0") != "" {
		text += "." + strings.TrimRight(rest, "0")
	}
	return text + space + units[i]
}
