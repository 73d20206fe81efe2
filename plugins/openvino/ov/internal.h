// What the C++ files of the shim share.
#pragma once
#include <string.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "capi.h"
#include "shim.h"

// The C API, found in the library.
struct ov_api {
#define OV_FIELD(name, result, args) result(*name) args;
  OV_FUNCTIONS(OV_FIELD)
#undef OV_FIELD
};
extern ov_api ov;

namespace ov_cpp {
class Model;  // OpenVINO's ov::Model: only pointers to it pass through
}

char* text(const std::string&);
char* failed(ov_status, const char* what);
ov_core_t* core();
void* library();  // the C++ core, for dlsym
// aside runs something on a thread of its own that takes no signals, and gives what it gives. Whatever may load a device's plugin
// goes there: OpenVINO's CPU plugin gives the thread that loads it another stack for signals, for AMX, and takes that stack's
// memory away when it is freed, on whatever thread that is. Were the first a thread of Go's, its next signal would end the process.
char* aside(const std::function<char*()>& work);
// run_pass runs a pass of OpenVINO's by the name of its class, whose length is given too, with flags of its own behind those of its base
// class. done stays 0 where the library's passes are laid out in a way that we do not know.
char* run_pass(void* lib, const std::string& name, const std::string& length, const unsigned char* flags, size_t n, void* model, int* done);
char* describe_port(ov_output_const_port_t*, ovs_port*);

#define TRY(call, what) \
  if (char* e_ = failed(call, what)) return e_
