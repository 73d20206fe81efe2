// Compiled models and their runs.
#include "internal.h"

extern "C" {

char* ovs_compile(void* model, const char* device, const char** kv, size_t n, void** compiled) {
  auto m = static_cast<ov_model_t*>(model);
  auto out = reinterpret_cast<ov_compiled_model_t**>(compiled);
  if (n > 2 * OVS_MAX_PROPERTIES) return text("more than 16 properties for one model");
  // The function takes n texts of a variable number of arguments, and looks at no more of them. Properties set on the core
  // instead would stay for the next model.
  const char* a[2 * OVS_MAX_PROPERTIES] = {};
  for (size_t i = 0; i < n; i++) a[i] = kv[i];
  return aside([&] {
    ov_status s = ov.ov_core_compile_model(core(), m, device, n, out, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10],
                                           a[11], a[12], a[13], a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23],
                                           a[24], a[25], a[26], a[27], a[28], a[29], a[30], a[31]);
    return failed(s, "compile the model");
  });
}

static char* imported(const char* blob, size_t size, const char* device, const char** kv, size_t n, void** compiled) {
  // The function takes no properties, and a core keeps those that it is given: this one is for this model alone.
  ov_core_t* own = nullptr;
  TRY(ov.ov_core_create(&own), "start OpenVINO");
  char* e = nullptr;
  for (size_t i = 0; !e && i + 1 < n; i += 2) e = failed(ov.ov_core_set_property(own, device, kv[i], kv[i + 1]), kv[i]);
  if (!e) e = failed(ov.ov_core_import_model(own, blob, size, device, reinterpret_cast<ov_compiled_model_t**>(compiled)), "load the compiled model");
  ov.ov_core_free(own);
  return e;
}

char* ovs_import(const char* blob, size_t size, const char* device, const char** kv, size_t n, void** compiled) {
  return aside([&] { return imported(blob, size, device, kv, n, compiled); });
}

char* ovs_export(void* compiled, const char* path) {
  TRY(ov.ov_compiled_model_export_model(static_cast<ov_compiled_model_t*>(compiled), path), "write the compiled model");
  return nullptr;
}

char* ovs_property(void* compiled, const char* key, char** value) {
  char* v = nullptr;
  TRY(ov.ov_compiled_model_get_property(static_cast<ov_compiled_model_t*>(compiled), key, &v), key);
  *value = strdup(v ? v : "");
  ov.ov_free(v);
  return nullptr;
}

char* ovs_runtime_model(void* compiled, void** model) {
  TRY(ov.ov_compiled_model_get_runtime_model(static_cast<ov_compiled_model_t*>(compiled), reinterpret_cast<ov_model_t**>(model)), "read the engine's graph");
  return nullptr;
}

char* ovs_compiled_counts(void* compiled, size_t* inputs, size_t* outputs) {
  auto c = static_cast<ov_compiled_model_t*>(compiled);
  TRY(ov.ov_compiled_model_inputs_size(c, inputs), "count inputs");
  TRY(ov.ov_compiled_model_outputs_size(c, outputs), "count outputs");
  return nullptr;
}

char* ovs_compiled_describe(void* compiled, int output, size_t index, ovs_port* port) {
  ov_output_const_port_t* p;
  TRY((output ? ov.ov_compiled_model_output_by_index : ov.ov_compiled_model_input_by_index)(static_cast<ov_compiled_model_t*>(compiled), index, &p), "find a port");
  return describe_port(p, port);
}

char* ovs_request(void* compiled, void** request) {
  TRY(ov.ov_compiled_model_create_infer_request(static_cast<ov_compiled_model_t*>(compiled), reinterpret_cast<ov_infer_request_t**>(request)), "prepare a run");
  return nullptr;
}

char* ovs_set_input(void* request, size_t index, const ovs_tensor* t) {
  ov_tensor_t* made;
  TRY(ov.ov_tensor_create_from_host_ptr(t->type, {t->rank, const_cast<int64_t*>(t->dims)}, t->data, &made), "give an input");
  ov_status s = ov.ov_infer_request_set_input_tensor_by_index(static_cast<ov_infer_request_t*>(request), index, made);
  char* e = failed(s, "give an input");
  ov.ov_tensor_free(made);  // the request keeps what it needs
  return e;
}

char* ovs_run(void* request) {
  TRY(ov.ov_infer_request_infer(static_cast<ov_infer_request_t*>(request)), "run the model");
  return nullptr;
}

char* ovs_output(void* request, size_t index, ovs_tensor* t) {
  ov_tensor_t* got;
  TRY(ov.ov_infer_request_get_output_tensor_by_index(static_cast<ov_infer_request_t*>(request), index, &got), "read an output");
  struct closer {
    ov_tensor_t* t;
    ~closer() { ov.ov_tensor_free(t); }
  } c{got};
  ov_shape_t s;
  TRY(ov.ov_tensor_get_shape(got, &s), "read the shape of an output");
  t->rank = s.rank;
  bool fits = s.rank <= OVS_MAX_RANK;
  for (int64_t i = 0; fits && i < s.rank; i++) t->dims[i] = s.dims[i];
  ov.ov_shape_free(&s);
  if (!fits) return text("an output has more than 16 axes");
  TRY(ov.ov_tensor_get_element_type(got, &t->type), "read the type of an output");
  TRY(ov.ov_tensor_get_byte_size(got, &t->bytes), "read an output");
  TRY(ov.ov_tensor_data(got, &t->data), "read an output");
  return nullptr;
}

void ovs_free_compiled(void* compiled) { ov.ov_compiled_model_free(static_cast<ov_compiled_model_t*>(compiled)); }
void ovs_free_request(void* request) { ov.ov_infer_request_free(static_cast<ov_infer_request_t*>(request)); }

}  // extern "C"
