// Preprocessing that becomes a part of the model.
#include "internal.h"

namespace {

// owner frees what OpenVINO handed out.
template <class T>
struct owner {
  T* p = nullptr;
  void (*release)(T*);
  explicit owner(void (*r)(T*)) : release(r) {}
  ~owner() {
    if (p) release(p);
  }
  owner(const owner&) = delete;
};

char* fold(ov_prepost_t* pp, const ovs_preprocess& s) {
  owner<ov_input_info_t> info(ov.ov_preprocess_input_info_free);
  TRY(ov.ov_preprocess_prepostprocessor_get_input_info_by_name(pp, s.input, &info.p), "find an input");
  owner<ov_tensor_info_t> given(ov.ov_preprocess_input_tensor_info_free);
  TRY(ov.ov_preprocess_input_info_get_tensor_info(info.p, &given.p), "prepare an input");
  owner<ov_model_info_t> taken(ov.ov_preprocess_input_model_info_free);
  TRY(ov.ov_preprocess_input_info_get_model_info(info.p, &taken.p), "prepare an input");
  owner<ov_steps_t> steps(ov.ov_preprocess_preprocess_steps_free);
  TRY(ov.ov_preprocess_input_info_get_preprocess_steps(info.p, &steps.p), "prepare an input");

  if (s.type >= 0) TRY(ov.ov_preprocess_input_tensor_info_set_element_type(given.p, s.type), "set the type of an input");
  owner<ov_layout_t> layout(ov.ov_layout_free), model_layout(ov.ov_layout_free);
  if (s.layout) {
    TRY(ov.ov_layout_create(s.layout, &layout.p), "read a layout");
    TRY(ov.ov_preprocess_input_tensor_info_set_layout(given.p, layout.p), "set the layout of an input");
  }
  if (s.model_layout) {
    TRY(ov.ov_layout_create(s.model_layout, &model_layout.p), "read a layout");
    TRY(ov.ov_preprocess_input_model_info_set_layout(taken.p, model_layout.p), "set the layout of the model's input");
  }
  if (s.height && s.width) TRY(ov.ov_preprocess_input_tensor_info_set_spatial_static_shape(given.p, s.height, s.width), "set the size of an input");
  bool arithmetic = s.resize || s.mean || s.scale;
  if (s.type >= 0 && arithmetic) TRY(ov.ov_preprocess_preprocess_steps_convert_element_type(steps.p, 4 /* f32 */), "convert an input");
  if (s.resize) TRY(ov.ov_preprocess_preprocess_steps_resize(steps.p, s.resize - 1), "resize an input");
  if (s.reverse_channels) TRY(ov.ov_preprocess_preprocess_steps_reverse_channels(steps.p), "reverse the channels of an input");
  if (s.mean && s.means == 1) TRY(ov.ov_preprocess_preprocess_steps_mean(steps.p, s.mean[0]), "subtract a mean");
  if (s.mean && s.means > 1) TRY(ov.ov_preprocess_preprocess_steps_mean_multi_channels(steps.p, s.mean, s.means), "subtract a mean");
  if (s.scale && s.scales == 1) TRY(ov.ov_preprocess_preprocess_steps_scale(steps.p, s.scale[0]), "divide by a scale");
  if (s.scale && s.scales > 1) TRY(ov.ov_preprocess_preprocess_steps_scale_multi_channels(steps.p, s.scale, s.scales), "divide by a scale");
  return nullptr;
}

}  // namespace

extern "C" char* ovs_prepare(void* model, const ovs_preprocess* steps, size_t n, void** prepared) {
  owner<ov_prepost_t> pp(ov.ov_preprocess_prepostprocessor_free);
  TRY(ov.ov_preprocess_prepostprocessor_create(static_cast<ov_model_t*>(model), &pp.p), "prepare the inputs");
  for (size_t i = 0; i < n; i++)
    if (char* e = fold(pp.p, steps[i])) return e;
  TRY(ov.ov_preprocess_prepostprocessor_build(pp.p, reinterpret_cast<ov_model_t**>(prepared)), "prepare the inputs");
  return nullptr;
}
