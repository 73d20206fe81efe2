package cache

import (
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// fileBasicInfo is FILE_BASIC_INFO.
type fileBasicInfo struct {
	CreationTime, LastAccessTime, LastWriteTime, ChangeTime int64
	Attributes                                              uint32
	_                                                       uint32
}

func identify(f *os.File) (fileID, error) {
	info, err := f.Stat()
	if err != nil {
		return fileID{}, err
	}
	id := fileID{regular: info.Mode().IsRegular(), size: info.Size(), links: 1, mtime: info.ModTime().UnixNano()}
	h := windows.Handle(f.Fd())
	var by windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &by); err != nil {
		return id, nil // no identity: the file is never remembered
	}
	id.links = uint64(by.NumberOfLinks)
	var basic fileBasicInfo
	if err := windows.GetFileInformationByHandleEx(h, windows.FileBasicInfo, (*byte)(unsafe.Pointer(&basic)), uint32(unsafe.Sizeof(basic))); err != nil {
		return id, nil
	}
	id.dev = uint64(by.VolumeSerialNumber)
	id.ino = uint64(by.FileIndexHigh)<<32 | uint64(by.FileIndexLow)
	changed := windows.Filetime{LowDateTime: uint32(basic.ChangeTime), HighDateTime: uint32(basic.ChangeTime >> 32)}
	id.ctime = changed.Nanoseconds()
	return id, nil
}
