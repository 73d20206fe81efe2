# A detector of speech, quantized for this machine. It is made for one length of sound and one rate, as callers feed it; nothing is
# tuned by hand.
recipe {
  required_plugins {
    quantize    = { version = ">= 0.1" }
    onnxruntime = { version = ">= 0.1" }
  }
}

variable "model" {
  description = "The model in float, as it is shipped."
  type        = string
}

variable "data" {
  description = "Frames to calibrate with, each with the state that the model has when it comes."
  type        = string
}

variable "out" {
  description = "Where the result goes."
  type        = string
}

model "shipped" {
  source = var.model
}

dataset "calibration" {
  source = var.data
}

step "onnxruntime_rewrite" "fixed" {
  model        = model.shipped
  input_shapes = { input = [-1, 576] }
  input_values = { sr = 16000 }
}

step "quantize_static" "int8" {
  model       = step.fixed.model
  calibration = dataset.calibration
  target      = "auto"
}

output "model" {
  value = step.int8.model
  path  = var.out
}
