package ort

/*
#include <stdint.h>
#include <stdlib.h>

// The head of the engine's interface, as its C header lays it out: a table of functions that only ever grows, so that a
// function's place in it never moves. The Go binding does not have the two below.
typedef struct { const void *const *(*get_api)(uint32_t version); const char *(*get_version)(void); } api_base;

enum { release_status = 93, get_available_providers = 125, release_available_providers = 126 };

// Each returns a status that is null when all went well.
typedef void *(*available_function)(char ***names, int *count);
typedef void *(*release_function)(char **names, int count);
typedef void (*release_status_function)(void *status);

static int list_providers(uintptr_t symbol, uint32_t version, char ***names, int *count) {
	const api_base *base = ((const api_base *(*)(void))symbol)();
	const void *const *api = base ? base->get_api(version) : NULL;
	if (!api) return 1;
	void *status = ((available_function)api[get_available_providers])(names, count);
	if (status) {
		((release_status_function)api[release_status])(status);
		return 2;
	}
	return 0;
}

static void release_providers(uintptr_t symbol, uint32_t version, char **names, int count) {
	const void *const *api = ((const api_base *(*)(void))symbol)()->get_api(version);
	void *status = ((release_function)api[release_available_providers])(names, count);
	if (status) ((release_status_function)api[release_status])(status);
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// apiVersion is that of [MinVersion].
const apiVersion = 24

// availableProviders asks the library at path, which this process has loaded.
func availableProviders(path string) ([]string, error) {
	symbol, err := apiSymbol(path)
	if err != nil {
		return nil, fmt.Errorf("ONNX Runtime's execution providers cannot be listed: %w", err)
	}
	var names **C.char
	var count C.int
	if r := C.list_providers(C.uintptr_t(symbol), apiVersion, &names, &count); r != 0 {
		return nil, fmt.Errorf("ONNX Runtime's execution providers cannot be listed (step %d)", int(r))
	}
	defer C.release_providers(C.uintptr_t(symbol), apiVersion, names, count)
	out := make([]string, 0, int(count))
	for _, n := range unsafe.Slice(names, int(count)) {
		out = append(out, C.GoString(n))
	}
	return out, nil
}
