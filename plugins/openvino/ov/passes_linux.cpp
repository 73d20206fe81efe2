// OpenVINO's own clean-up of a model, the passes that its converter runs: what is constant is worked out, what can be one layer
// becomes one. The C API lacks it, so it is called as the C++ object that it is.
#include "internal.h"

#include <dlfcn.h>

#include <cstring>

namespace {

// An ov::pass::ModelPass as the library lays it out: what its base class fills, and its own flags behind that.
struct pass_object {
  alignas(16) unsigned char bytes[256];
};

constexpr unsigned char untouched = 0xA5;

// size_of_base tells how many bytes the base class has, 0 when they are not laid out as we know it: a pointer to the table of functions, a
// mask, a name (a string of 32 bytes, or of 8 in libstdc++'s older ABI) and a shared pointer to a configuration. The
// constructor has just filled the object, which held nothing but `untouched`.
size_t size_of_base(const pass_object& o) {
  size_t n = sizeof o.bytes;
  while (n > 0 && o.bytes[n - 1] == untouched) n--;
  if (n != 64 && n != 40) return 0;
  uintptr_t words[8] = {};
  memcpy(words, o.bytes, n);
  if (!words[0] || !words[n / 8 - 2] || !words[n / 8 - 1]) return 0;
  // A short string of the newer ABI points into itself, and is empty.
  if (n == 64 && (words[2] != reinterpret_cast<uintptr_t>(o.bytes) + 32 || words[3] != 0)) return 0;
  if (n == 40 && !words[2]) return 0;
  return n;
}

// leave_weights keeps the pass from running that turns each weight of a product round. It saves a device that work when it loads the
// model, about 0.2 ms a MB, and costs the export twice that and a second copy of all weights. What the configuration does not
// know changes nothing.
void leave_weights(void* lib, void* config) {
  // An ov::DiscreteTypeInfo, by which passes are told apart: a name, a version, a parent, and a hash that 0 leaves to be found.
  const struct {
    const char *name, *version;
    const void* parent;
    size_t hash;
  } turning{"MatMulConstTransposesExtraction", "0", nullptr, 0};
  auto disable = reinterpret_cast<void (*)(void*, const void*)>(dlsym(lib, "_ZN2ov4pass10PassConfig7disableERKNS_16DiscreteTypeInfoE"));
  if (disable) disable(config, &turning);
}

}  // namespace

char* run_pass(void* lib, const std::string& name, const std::string& length, const unsigned char* flags, size_t n, void* model, int* done) {
  using model_ptr = std::shared_ptr<ov_cpp::Model>;
  const std::string prefix = "N2ov4pass" + length + name + "E";
  auto make = reinterpret_cast<void (*)(void*)>(dlsym(lib, "_ZN2ov4pass8PassBaseC1Ev"));
  auto drop = reinterpret_cast<void (*)(void*)>(dlsym(lib, "_ZN2ov4pass8PassBaseD1Ev"));
  auto table = static_cast<char*>(dlsym(lib, ("_ZTV" + prefix).c_str()));
  auto work = reinterpret_cast<bool (*)(void*, const model_ptr&)>(dlsym(lib, ("_Z" + prefix.substr(0, prefix.size() - 1) + "12run_on_modelERKSt10shared_ptrINS_5ModelEE").c_str()));
  if (!make || !drop || !table || !work) return nullptr;  // another release: the model stays as it is
  pass_object o;
  memset(o.bytes, untouched, sizeof o.bytes);
  char* e = nullptr;
  try {
    make(o.bytes);
    size_t base = size_of_base(o);
    if (!base) return nullptr;
    memset(o.bytes + base, 0, sizeof o.bytes - base);
    memcpy(o.bytes + base, flags, n);
    void *own, *config;
    memcpy(&own, o.bytes, sizeof own);
    memcpy(&config, o.bytes + base - 2 * sizeof config, sizeof config);
    char* first = table + 2 * sizeof(void*);
    memcpy(o.bytes, &first, sizeof first);
    try {
      leave_weights(lib, config);
      work(o.bytes, *static_cast<model_ptr*>(model));
      *done = 1;
    } catch (const std::exception& x) {
      e = text(x.what());
    } catch (...) {
      e = text("OpenVINO threw what is no std::exception");
    }
    memcpy(o.bytes, &own, sizeof own);
    drop(o.bytes);
  } catch (...) {
    return nullptr;
  }
  return e;
}

extern "C" char* ovs_simplify(void* model, int* done) {
  *done = 0;
  if (char* e = run_pass(library(), "SmartReshape", "12", nullptr, 0, model, done)) return e;
  if (!*done) return nullptr;
  *done = 0;
  // Shapes are not relied on, so that the model can be given others; products in few bits stay.
  const unsigned char moc[] = {0, 1};
  // Twice, as OpenVINO's converter does: what the first round leaves lets the second find more, such as attention.
  for (int round = 0; round < 2; round++)
    if (char* e = run_pass(library(), "MOCTransformations", "18", moc, sizeof moc, model, done)) return e;
  int cleaned = 0;
  return *done ? run_pass(library(), "FusedNamesCleanup", "17", nullptr, 0, model, &cleaned) : nullptr;
}
