// The declarations of OpenVINO's C API, 2025.4 and newer, that the shim uses: its opaque types, and the layout of the few
// structs that go by value. OpenVINO's own headers are not needed to build.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct ov_core ov_core_t;
typedef struct ov_model ov_model_t;
typedef struct ov_compiled_model ov_compiled_model_t;
typedef struct ov_infer_request ov_infer_request_t;
typedef struct ov_tensor ov_tensor_t;
typedef struct ov_output_const_port ov_output_const_port_t;
typedef struct ov_layout ov_layout_t;
typedef struct ov_preprocess_prepostprocessor ov_prepost_t;
typedef struct ov_preprocess_input_info ov_input_info_t;
typedef struct ov_preprocess_input_tensor_info ov_tensor_info_t;
typedef struct ov_preprocess_input_model_info ov_model_info_t;
typedef struct ov_preprocess_preprocess_steps ov_steps_t;
typedef int ov_status;  // 0 is success
typedef int ov_type;    // element types are numbered the same from 2025.4 on

typedef struct { const char *build, *description; } ov_version_t;
typedef struct { char** devices; size_t size; } ov_devices_t;
typedef struct { int64_t min, max; } ov_dimension_t;
typedef struct { int64_t rank; int64_t* dims; } ov_shape_t;
typedef struct { ov_dimension_t rank; ov_dimension_t* dims; } ov_partial_shape_t;

// name, result, arguments
#define OV_FUNCTIONS(F)                                                                                                    \
  F(ov_get_error_info, const char*, (ov_status))                                                                           \
  F(ov_get_last_err_msg, const char*, (void))                                                                              \
  F(ov_free, void, (const char*))                                                                                          \
  F(ov_core_create, ov_status, (ov_core_t**))                                                                              \
  F(ov_core_free, void, (ov_core_t*))                                                                                      \
  F(ov_core_set_property, ov_status, (const ov_core_t*, const char*, ...))                                                 \
  F(ov_core_read_model, ov_status, (const ov_core_t*, const char*, const char*, ov_model_t**))                             \
  F(ov_core_read_model_from_memory_buffer, ov_status, (const ov_core_t*, const char*, size_t, const ov_tensor_t*, ov_model_t**)) \
  F(ov_core_get_available_devices, ov_status, (const ov_core_t*, ov_devices_t*))                                           \
  F(ov_available_devices_free, void, (ov_devices_t*))                                                                      \
  F(ov_core_get_property, ov_status, (const ov_core_t*, const char*, const char*, char**))                                 \
  F(ov_core_compile_model, ov_status, (const ov_core_t*, const ov_model_t*, const char*, size_t, ov_compiled_model_t**, ...)) \
  F(ov_core_import_model, ov_status, (const ov_core_t*, const char*, size_t, const char*, ov_compiled_model_t**))          \
  F(ov_model_free, void, (ov_model_t*))                                                                                    \
  F(ov_model_inputs_size, ov_status, (const ov_model_t*, size_t*))                                                         \
  F(ov_model_outputs_size, ov_status, (const ov_model_t*, size_t*))                                                        \
  F(ov_model_const_input_by_index, ov_status, (const ov_model_t*, size_t, ov_output_const_port_t**))                       \
  F(ov_model_const_output_by_index, ov_status, (const ov_model_t*, size_t, ov_output_const_port_t**))                      \
  F(ov_model_const_output_by_name, ov_status, (const ov_model_t*, const char*, ov_output_const_port_t**))                  \
  F(ov_model_reshape, ov_status, (const ov_model_t*, const char**, const ov_partial_shape_t*, size_t))                     \
  F(ov_port_get_any_name, ov_status, (const ov_output_const_port_t*, char**))                                              \
  F(ov_port_get_partial_shape, ov_status, (const ov_output_const_port_t*, ov_partial_shape_t*))                            \
  F(ov_port_get_element_type, ov_status, (const ov_output_const_port_t*, ov_type*))                                        \
  F(ov_output_const_port_free, void, (ov_output_const_port_t*))                                                            \
  F(ov_partial_shape_free, void, (ov_partial_shape_t*))                                                                    \
  F(ov_compiled_model_inputs_size, ov_status, (const ov_compiled_model_t*, size_t*))                                       \
  F(ov_compiled_model_outputs_size, ov_status, (const ov_compiled_model_t*, size_t*))                                      \
  F(ov_compiled_model_input_by_index, ov_status, (const ov_compiled_model_t*, size_t, ov_output_const_port_t**))           \
  F(ov_compiled_model_output_by_index, ov_status, (const ov_compiled_model_t*, size_t, ov_output_const_port_t**))          \
  F(ov_compiled_model_get_runtime_model, ov_status, (const ov_compiled_model_t*, ov_model_t**))                            \
  F(ov_compiled_model_create_infer_request, ov_status, (const ov_compiled_model_t*, ov_infer_request_t**))                 \
  F(ov_compiled_model_get_property, ov_status, (const ov_compiled_model_t*, const char*, char**))                          \
  F(ov_compiled_model_export_model, ov_status, (const ov_compiled_model_t*, const char*))                                  \
  F(ov_compiled_model_free, void, (ov_compiled_model_t*))                                                                  \
  F(ov_infer_request_set_input_tensor_by_index, ov_status, (ov_infer_request_t*, size_t, const ov_tensor_t*))              \
  F(ov_infer_request_get_output_tensor_by_index, ov_status, (const ov_infer_request_t*, size_t, ov_tensor_t**))            \
  F(ov_infer_request_infer, ov_status, (ov_infer_request_t*))                                                              \
  F(ov_infer_request_free, void, (ov_infer_request_t*))                                                                    \
  F(ov_tensor_create_from_host_ptr, ov_status, (ov_type, ov_shape_t, void*, ov_tensor_t**))                                \
  F(ov_tensor_get_shape, ov_status, (const ov_tensor_t*, ov_shape_t*))                                                     \
  F(ov_tensor_get_element_type, ov_status, (const ov_tensor_t*, ov_type*))                                                 \
  F(ov_tensor_get_byte_size, ov_status, (const ov_tensor_t*, size_t*))                                                     \
  F(ov_tensor_data, ov_status, (const ov_tensor_t*, void**))                                                               \
  F(ov_tensor_free, void, (ov_tensor_t*))                                                                                  \
  F(ov_shape_free, ov_status, (ov_shape_t*))                                                                               \
  F(ov_layout_create, ov_status, (const char*, ov_layout_t**))                                                             \
  F(ov_layout_free, void, (ov_layout_t*))                                                                                  \
  F(ov_preprocess_prepostprocessor_create, ov_status, (const ov_model_t*, ov_prepost_t**))                                 \
  F(ov_preprocess_prepostprocessor_free, void, (ov_prepost_t*))                                                            \
  F(ov_preprocess_prepostprocessor_get_input_info_by_name, ov_status, (const ov_prepost_t*, const char*, ov_input_info_t**)) \
  F(ov_preprocess_prepostprocessor_build, ov_status, (const ov_prepost_t*, ov_model_t**))                                  \
  F(ov_preprocess_input_info_free, void, (ov_input_info_t*))                                                               \
  F(ov_preprocess_input_info_get_tensor_info, ov_status, (const ov_input_info_t*, ov_tensor_info_t**))                     \
  F(ov_preprocess_input_info_get_preprocess_steps, ov_status, (const ov_input_info_t*, ov_steps_t**))                      \
  F(ov_preprocess_input_info_get_model_info, ov_status, (const ov_input_info_t*, ov_model_info_t**))                       \
  F(ov_preprocess_input_tensor_info_free, void, (ov_tensor_info_t*))                                                       \
  F(ov_preprocess_input_tensor_info_set_element_type, ov_status, (ov_tensor_info_t*, ov_type))                             \
  F(ov_preprocess_input_tensor_info_set_layout, ov_status, (ov_tensor_info_t*, ov_layout_t*))                              \
  F(ov_preprocess_input_tensor_info_set_spatial_static_shape, ov_status, (ov_tensor_info_t*, size_t, size_t))              \
  F(ov_preprocess_input_model_info_free, void, (ov_model_info_t*))                                                         \
  F(ov_preprocess_input_model_info_set_layout, ov_status, (ov_model_info_t*, ov_layout_t*))                                \
  F(ov_preprocess_preprocess_steps_free, void, (ov_steps_t*))                                                              \
  F(ov_preprocess_preprocess_steps_convert_element_type, ov_status, (ov_steps_t*, ov_type))                                \
  F(ov_preprocess_preprocess_steps_reverse_channels, ov_status, (ov_steps_t*))                                             \
  F(ov_preprocess_preprocess_steps_resize, ov_status, (ov_steps_t*, int))                                                  \
  F(ov_preprocess_preprocess_steps_mean, ov_status, (ov_steps_t*, float))                                                  \
  F(ov_preprocess_preprocess_steps_scale, ov_status, (ov_steps_t*, float))                                                 \
  F(ov_preprocess_preprocess_steps_mean_multi_channels, ov_status, (ov_steps_t*, const float*, int32_t))                   \
  F(ov_preprocess_preprocess_steps_scale_multi_channels, ov_status, (ov_steps_t*, const float*, int32_t))
