# One model, quantized for OpenVINO and written as IR, nothing tuned by hand.
recipe {
  required_plugins {
    quantize    = { version = ">= 0.1" }
    onnxruntime = { version = ">= 0.1" }
    openvino    = { version = ">= 0.1" }
  }
}

variable "model" {
  description = "The model in float, as it is shipped."
  type        = string
}

variable "data" {
  description = "Samples to calibrate with: a field for each input of the model."
  type        = string
}

variable "out" {
  description = "The folder that the result goes to."
  type        = string
}

model "shipped" {
  source = var.model
}

dataset "calibration" {
  source = var.data
  limit  = 64
}

step "quantize_static" "int8" {
  model       = model.shipped
  calibration = dataset.calibration
  target      = "openvino"
}

step "openvino" "ir" {
  model = step.int8.model
}

output "model" {
  value = step.ir.model
  path  = var.out
}
