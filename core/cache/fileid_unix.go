//go:build linux || darwin || freebsd || netbsd

package cache

import (
	"os"
	"syscall"
)

func identify(f *os.File) (fileID, error) {
	info, err := f.Stat()
	if err != nil {
		return fileID{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{regular: info.Mode().IsRegular(), size: info.Size(), links: 1}, nil
	}
	return fileID{
		regular: info.Mode().IsRegular(),
		dev:     uint64(st.Dev), //nolint:unconvert // signed on darwin
		ino:     st.Ino,
		links:   uint64(st.Nlink), //nolint:unconvert // the width differs by system
		size:    info.Size(),
		mtime:   info.ModTime().UnixNano(),
		ctime:   changeTime(st),
	}, nil
}
