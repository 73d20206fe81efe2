// Loading the library, and turning what its C API and its C++ core say into text.
#include "internal.h"

#include <dlfcn.h>
#include <link.h>
#include <signal.h>

#include <set>
#include <thread>

ov_api ov;
static ov_core_t* the_core;
static void *save_path, *save_string, *save_path_old, *save_string_old;

char* text(const std::string& s) { return strdup(s.c_str()); }

char* failed(ov_status s, const char* what) {
  if (s == 0) return nullptr;
  const char *kind = ov.ov_get_error_info(s), *why = ov.ov_get_last_err_msg();
  // OpenVINO's own words, alone; where there are none, what was tried.
  if (why && *why) return text(why);
  return text(std::string(what) + ": " + (kind ? kind : "it does not say why"));
}

ov_core_t* core() { return the_core; }

char* aside(const std::function<char*()>& work) {
  char* e = nullptr;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // what a thread starts inherits its mask
  try {
    std::thread([&] { e = work(); }).join();
  } catch (const std::exception& x) {
    e = text(std::string("start a thread: ") + x.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return e;
}

// twice tells when a second OpenVINO is in the process: the dynamic linker may have taken another one's core for the C API.
static std::string twice() {
  std::set<std::string> files;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        std::error_code none;
        std::filesystem::path p = info->dlpi_name;
        if (p.filename().string().rfind("libopenvino.so", 0) == 0) static_cast<std::set<std::string>*>(data)->insert(std::filesystem::weakly_canonical(p, none).string());
        return 0;
      },
      &files);
  if (files.size() < 2) return "";
  std::string s = "two versions of OpenVINO are in one process:";
  for (auto& f : files) s += " " + f;
  return s;
}

static void *lib, *capi;

void* library() { return lib; }

extern "C" {

char* ovs_open(const char* core_path, const char* capi_path, char** version) {
  // Both by their full paths: the library finds its other files beside itself.
  lib = dlopen(core_path, RTLD_NOW | RTLD_LOCAL);
  if (!lib) return text(dlerror());
  capi = dlopen(capi_path, RTLD_NOW | RTLD_LOCAL);
  if (!capi) return text(dlerror());
  std::string more = twice();
  if (!more.empty()) return text(more);
  auto get = reinterpret_cast<ov_status (*)(ov_version_t*)>(dlsym(capi, "ov_get_openvino_version"));
  auto drop = reinterpret_cast<void (*)(ov_version_t*)>(dlsym(capi, "ov_version_free"));
  if (!get || !drop) return text("it has no function ov_get_openvino_version");
  ov_version_t v{};
  if (get(&v) != 0) return text("it does not tell its version");
  *version = strdup(v.build ? v.build : "");
  drop(&v);
  return nullptr;
}

char* ovs_start(void) {
#define OV_FIND(name, result, args)                               \
  ov.name = reinterpret_cast<result(*) args>(dlsym(capi, #name)); \
  if (!ov.name) return text(std::string("it has no function ") + #name);
  OV_FUNCTIONS(OV_FIND)
#undef OV_FIND
  // The C API cannot write a model. These are ov::save_model(shared_ptr<const ov::Model>, path or string, bool) of the C++
  // core: as built with libstdc++'s newer ABI, and with the older one.
  save_path = dlsym(lib, "_ZN2ov10save_modelERKSt10shared_ptrIKNS_5ModelEERKNSt10filesystem7__cxx114pathEb");
  save_string = dlsym(lib, "_ZN2ov10save_modelERKSt10shared_ptrIKNS_5ModelEERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEb");
  save_path_old = dlsym(lib, "_ZN2ov10save_modelERKSt10shared_ptrIKNS_5ModelEERKNSt10filesystem4pathEb");
  save_string_old = dlsym(lib, "_ZN2ov10save_modelERKSt10shared_ptrIKNS_5ModelEERKSsb");
  if (!save_path && !save_string && !save_path_old && !save_string_old) return text("it has no save_model of a known form");
  return failed(ov.ov_core_create(&the_core), "start OpenVINO");
}

char* ovs_devices(char** names) {
  ov_devices_t d;
  if (char* e = aside([&] { return failed(ov.ov_core_get_available_devices(the_core, &d), "list devices"); })) return e;
  std::string s;
  for (size_t i = 0; i < d.size; i++) s += std::string(i ? "\n" : "") + d.devices[i];
  ov.ov_available_devices_free(&d);
  *names = text(s);
  return nullptr;
}

char* ovs_device_property(const char* device, const char* key, char** value) {
  char* v = nullptr;
  if (char* e = aside([&] { return failed(ov.ov_core_get_property(the_core, device, key, &v), key); })) return e;
  *value = strdup(v ? v : "");
  ov.ov_free(v);
  return nullptr;
}

char* ovs_save(void* model, const char* xml, int fp16) {
  if (!save_path && !save_string) return ovs_save_old(save_path_old, save_string_old, model, xml, fp16);
  // What the C API hands out is a struct whose only member is the model's shared_ptr.
  auto& m = *static_cast<std::shared_ptr<const ov_cpp::Model>*>(model);
  try {
    if (save_path)
      reinterpret_cast<void (*)(const std::shared_ptr<const ov_cpp::Model>&, const std::filesystem::path&, bool)>(save_path)(m, xml, fp16 != 0);
    else
      reinterpret_cast<void (*)(const std::shared_ptr<const ov_cpp::Model>&, const std::string&, bool)>(save_string)(m, xml, fp16 != 0);
  } catch (const std::exception& e) {
    return text(e.what());
  } catch (...) {
    return text("OpenVINO threw what is no std::exception");
  }
  return nullptr;
}

}  // extern "C"
