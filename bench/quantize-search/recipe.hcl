# One model, quantized for this machine, nothing tuned by hand.
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
  description = "Samples to calibrate with: a field for each input of the model."
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
  limit  = 64
}

step "quantize_static" "int8" {
  model       = model.shipped
  calibration = dataset.calibration
  target      = "auto"
}

output "model" {
  value = step.int8.model
  path  = var.out
}
