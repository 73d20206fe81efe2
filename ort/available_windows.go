package ort

import "syscall"

func apiSymbol(path string) (uintptr, error) {
	lib, err := syscall.LoadLibrary(path) // it is loaded already
	if err != nil {
		return 0, err
	}
	return syscall.GetProcAddress(lib, "OrtGetApiBase")
}
