// The part of OpenVINO that the package ov calls. Everything that can fail returns NULL, or its reason in memory that the
// caller frees.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { OVS_MAX_RANK = 16, OVS_MAX_PROPERTIES = 16 };

// A model's input or output. A dimension that is free has max -1; rank is -1 when even that is free.
typedef struct {
  char* name;  // NULL where the tensor has none
  int32_t type;
  int64_t rank;
  int64_t min[OVS_MAX_RANK], max[OVS_MAX_RANK];
} ovs_port;

// A tensor in memory. Where it belongs to a request, it lives until the next run.
typedef struct {
  int32_t type;
  int64_t rank;
  int64_t dims[OVS_MAX_RANK];
  void* data;
  size_t bytes;
} ovs_tensor;

// What is done to an input before the model sees it, in this order. Pointers and numbers that are 0 say nothing.
typedef struct {
  const char* input;
  int32_t type;               // of what is given; -1: as the model's
  const char* layout;         // of what is given: "NHWC"
  const char* model_layout;   // of the model's input: "NCHW"
  size_t height, width;       // of what is given, where both are not 0
  int32_t resize;             // to what the model takes: 0 none, 1 linear, 2 cubic, 3 nearest
  int32_t reverse_channels;   // RGB to BGR, or back
  const float* mean;
  size_t means;               // how many: 1 is for all channels
  const float* scale;
  size_t scales;
} ovs_preprocess;

// ovs_open loads the library and asks for its version only; ovs_start makes it ready.
char* ovs_open(const char* core, const char* capi, char** version);
char* ovs_start(void);
char* ovs_devices(char** names);
char* ovs_device_property(const char* device, const char* key, char** value);
char* ovs_read(const char* path, void** model);
char* ovs_read_memory(const char* bytes, size_t n, void** model);
char* ovs_counts(void* model, size_t* inputs, size_t* outputs);
char* ovs_describe(void* model, int output, size_t index, ovs_port* port);
char* ovs_output_named(void* model, const char* name, ovs_port* port);
char* ovs_reshape(void* model, const char** names, const ovs_port* shapes, size_t n);
char* ovs_prepare(void* model, const ovs_preprocess* steps, size_t n, void** prepared);
char* ovs_simplify(void* model, int* done);
char* ovs_save(void* model, const char* xml, int fp16);
char* ovs_compile(void* model, const char* device, const char** pairs, size_t n, void** compiled);
char* ovs_import(const char* blob, size_t size, const char* device, const char** pairs, size_t n, void** compiled);
char* ovs_export(void* compiled, const char* path);
char* ovs_property(void* compiled, const char* key, char** value);
char* ovs_runtime_model(void* compiled, void** model);
char* ovs_compiled_counts(void* compiled, size_t* inputs, size_t* outputs);
char* ovs_compiled_describe(void* compiled, int output, size_t index, ovs_port* port);
char* ovs_request(void* compiled, void** request);
char* ovs_set_input(void* request, size_t index, const ovs_tensor* t);
char* ovs_run(void* request);
char* ovs_output(void* request, size_t index, ovs_tensor* t);
void ovs_free_model(void* model);
void ovs_free_compiled(void* compiled);
void ovs_free_request(void* request);

// ovs_save_old calls save_model of a library built with libstdc++'s older ABI.
char* ovs_save_old(void* by_path, void* by_string, void* model, const char* xml, int fp16);

#ifdef __cplusplus
}
#endif
