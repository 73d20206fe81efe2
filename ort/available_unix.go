//go:build !windows

package ort

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

static uintptr_t api_symbol(const char *path) {
	// It is loaded already: this only finds it again, and never unloads it.
	void *lib = dlopen(path, RTLD_LAZY);
	return lib ? (uintptr_t)dlsym(lib, "OrtGetApiBase") : 0;
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

func apiSymbol(path string) (uintptr, error) {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	s := uintptr(C.api_symbol(p))
	if s == 0 {
		return 0, fmt.Errorf("%s does not tell its interface", path)
	}
	return s, nil
}
