//go:build cgo

package ov

/*
#cgo CXXFLAGS: -std=c++17 -O2
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"strings"
	"sync"
	"unsafe"
)

// Built tells whether OpenVINO can be used in this build.
const Built = true

var loading struct {
	sync.Mutex
	done *Library
	// opened is the folder whose library is in the process, also when it turned out to be of no use.
	opened string
}

// Load loads the library, once for the process: another one afterwards is an error. One that is older than [MinVersion] is
// refused by its version.
func Load(l Library) error {
	loading.Lock()
	defer loading.Unlock()
	if loading.opened != "" && loading.opened != l.Dir {
		return fmt.Errorf("OpenVINO of %s is loaded already, and a process takes one; %s was not loaded", loading.opened, l.Dir)
	}
	if loading.done != nil {
		return nil
	}
	core, capi := C.CString(l.core), C.CString(l.capi)
	defer C.free(unsafe.Pointer(core))
	defer C.free(unsafe.Pointer(capi))
	loading.opened = l.Dir
	doing := "load the library of " + l.Dir
	var build *C.char
	if err := said(C.ovs_open(core, capi, &build), doing); err != nil {
		loading.opened = ""
		return fmt.Errorf("%w. %s", err, wayOut())
	}
	l.Build = taken(build)
	told := versionOf(l.Build)
	if l.Version != "" && !sameVersion(told, l.Version) {
		return fmt.Errorf("the library of %s calls itself OpenVINO %s, but its files are named %s: two versions are mixed in it. %s", l.Dir, told, l.Version, wayOut())
	}
	l.Version = told
	if compareVersions(l.Version, MinVersion) < 0 {
		return fmt.Errorf("OpenVINO %s or newer is needed, but %s is version %s. %s", MinVersion, l.Dir, l.Version, wayOut())
	}
	if err := said(C.ovs_start(), doing); err != nil {
		return err
	}
	loading.done = &l
	return nil
}

// Loaded is the library that this process has loaded; its version is what the library itself says.
func Loaded() (Library, bool) {
	loading.Lock()
	defer loading.Unlock()
	if loading.done == nil {
		return Library{}, false
	}
	return *loading.done, true
}

// ready is nil once a library is loaded: the shim's functions are not to be called before.
func ready() error {
	if _, ok := Loaded(); !ok {
		return errNotLoaded
	}
	return nil
}

// said makes an error of what the shim returns.
func said(e *C.char, doing string) error {
	if e == nil {
		return nil
	}
	return &Error{Doing: doing, Text: taken(e)}
}

// taken copies a text of the shim and frees it.
func taken(s *C.char) string {
	defer C.free(unsafe.Pointer(s))
	return C.GoString(s)
}

// Devices are those that OpenVINO finds here: "CPU", "GPU.0".
func Devices() ([]string, error) {
	if err := ready(); err != nil {
		return nil, err
	}
	var names *C.char
	if err := said(C.ovs_devices(&names), "list devices"); err != nil {
		return nil, err
	}
	return strings.Fields(taken(names)), nil
}

// DeviceProperty asks a device: "FULL_DEVICE_NAME".
func DeviceProperty(device, key string) (string, error) {
	if err := ready(); err != nil {
		return "", err
	}
	d, k := C.CString(device), C.CString(key)
	defer C.free(unsafe.Pointer(d))
	defer C.free(unsafe.Pointer(k))
	var v *C.char
	if err := said(C.ovs_device_property(d, k, &v), "tell "+key+" of device "+device); err != nil {
		return "", err
	}
	return taken(v), nil
}

// cStrings copies texts to memory of C's, as a list that it can be given, and gives what frees all of it.
func cStrings(texts []string) (**C.char, func()) {
	p := (**C.char)(C.malloc(C.size_t(max(len(texts), 1)) * C.size_t(unsafe.Sizeof(uintptr(0)))))
	list := unsafe.Slice(p, len(texts))
	for i, s := range texts {
		list[i] = C.CString(s)
	}
	return p, func() {
		for _, s := range list {
			C.free(unsafe.Pointer(s))
		}
		C.free(unsafe.Pointer(p))
	}
}
