package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

// hashReader reads r to its end.
func hashReader(ctx context.Context, r io.Reader, w io.Writer) (digest string, size int64, err error) {
	h := sha256.New()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return "", 0, err
		}
		n, err := r.Read(*buf)
		if n > 0 {
			h.Write((*buf)[:n])
			size += int64(n)
			if w != nil {
				if _, err := w.Write((*buf)[:n]); err != nil {
					return "", 0, err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return sumHex(h), size, nil
		}
		if err != nil {
			return "", 0, err
		}
	}
}

func sumHex(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// copyFile copies a regular file to a new one, sharing extents where the file system can, and syncs it. It returns the
// digest of what was written.
func copyFile(from, to string, mode fs.FileMode) (digest string, size int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	return copyOpen(context.Background(), in, to, mode)
}

func copyOpen(ctx context.Context, in *os.File, to string, mode fs.FileMode) (digest string, size int64, err error) {
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", 0, err
	}
	if clone(out, in) {
		digest, size, err = hashReader(ctx, out, nil)
	} else {
		digest, size, err = hashReader(ctx, in, out)
	}
	err = errors.Join(err, out.Sync())
	if mode != 0 {
		err = errors.Join(err, out.Chmod(mode))
	}
	err = errors.Join(err, out.Close())
	if err != nil {
		os.Remove(to)
		return "", 0, err
	}
	return digest, size, nil
}
