// OpenVINO's wheels up to 2025.4 are built with libstdc++'s older ABI, where string and path are other types.
#define _GLIBCXX_USE_CXX11_ABI 0
#include <string.h>

#include <filesystem>
#include <memory>
#include <string>

#include "shim.h"

namespace ov_cpp {
class Model;
}

extern "C" char* ovs_save_old(void* by_path, void* by_string, void* model, const char* xml, int fp16) {
  using model_ptr = std::shared_ptr<const ov_cpp::Model>;
  auto& m = *static_cast<model_ptr*>(model);
  try {
    if (by_path)
      reinterpret_cast<void (*)(const model_ptr&, const std::filesystem::path&, bool)>(by_path)(m, xml, fp16 != 0);
    else
      reinterpret_cast<void (*)(const model_ptr&, const std::string&, bool)>(by_string)(m, xml, fp16 != 0);
  } catch (const std::exception& e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("OpenVINO threw what is no std::exception");
  }
  return nullptr;
}
