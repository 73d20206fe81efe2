// Models and their ports.
#include "internal.h"

#include <sched.h>
#include <unistd.h>

// describe_port reads a port and frees it.
char* describe_port(ov_output_const_port_t* p, ovs_port* out) {
  struct closer {
    ov_output_const_port_t* p;
    ~closer() { ov.ov_output_const_port_free(p); }
  } c{p};
  char* name = nullptr;
  out->name = nullptr;
  if (ov.ov_port_get_any_name(p, &name) == 0 && name) { // fails for a tensor without a name
    out->name = strdup(name);
    ov.ov_free(name);
  }
  ov_partial_shape_t s;
  TRY(ov.ov_port_get_partial_shape(p, &s), "read a shape");
  out->rank = s.rank.max == s.rank.min && s.rank.max <= OVS_MAX_RANK ? s.rank.max : -1;
  for (int64_t i = 0; i < out->rank; i++) {
    out->min[i] = s.dims[i].min;
    out->max[i] = s.dims[i].max;
  }
  ov.ov_partial_shape_free(&s);
  TRY(ov.ov_port_get_element_type(p, &out->type), "read an element type");
  return nullptr;
}

extern "C" {

char* ovs_read(const char* path, void** model) {
  TRY(ov.ov_core_read_model(core(), path, nullptr, reinterpret_cast<ov_model_t**>(model)), "read the model");
  return nullptr;
}

char* ovs_read_memory(const char* bytes, size_t n, void** model) {
  // External data are taken from below the folder that the process is in alone. For a thread of its own that is the root, and no other
  // thread sees it.
  return aside([&] {
    if (unshare(CLONE_FS) != 0 || chdir("/") != 0) return text("a thread with a folder of its own is not to be had");
    return failed(ov.ov_core_read_model_from_memory_buffer(core(), bytes, n, nullptr, reinterpret_cast<ov_model_t**>(model)), "read the model");
  });
}

char* ovs_counts(void* model, size_t* inputs, size_t* outputs) {
  auto m = static_cast<ov_model_t*>(model);
  TRY(ov.ov_model_inputs_size(m, inputs), "count inputs");
  TRY(ov.ov_model_outputs_size(m, outputs), "count outputs");
  return nullptr;
}

char* ovs_describe(void* model, int output, size_t index, ovs_port* port) {
  auto m = static_cast<ov_model_t*>(model);
  ov_output_const_port_t* p;
  TRY((output ? ov.ov_model_const_output_by_index : ov.ov_model_const_input_by_index)(m, index, &p), "find a port");
  return describe_port(p, port);
}

char* ovs_output_named(void* model, const char* name, ovs_port* port) {
  ov_output_const_port_t* p;
  TRY(ov.ov_model_const_output_by_name(static_cast<ov_model_t*>(model), name, &p), "find an output");
  return describe_port(p, port);
}

char* ovs_reshape(void* model, const char** names, const ovs_port* shapes, size_t n) {
  auto dims = std::make_unique<ov_dimension_t[]>(n * OVS_MAX_RANK);
  auto partial = std::make_unique<ov_partial_shape_t[]>(n);
  for (size_t i = 0; i < n; i++) {
    partial[i] = {{shapes[i].rank, shapes[i].rank}, &dims[i * OVS_MAX_RANK]};
    for (int64_t k = 0; k < shapes[i].rank; k++) partial[i].dims[k] = {shapes[i].min[k], shapes[i].max[k]};
  }
  TRY(ov.ov_model_reshape(static_cast<ov_model_t*>(model), names, partial.get(), n), "reshape the model");
  return nullptr;
}

void ovs_free_model(void* model) { ov.ov_model_free(static_cast<ov_model_t*>(model)); }

}  // extern "C"
