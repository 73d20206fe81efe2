# Half precision with range analysis on data.
recipe {
  required_plugins {
    quantize = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "data" { type = string }
variable "out" { type = string }
variable "dtype" { type = string }

model "net" {
  source = var.model
}

dataset "samples" {
  source = var.data
}

step "quantize_float16" "half" {
  model       = model.net
  dtype       = var.dtype
  calibration = dataset.samples
}

output "model" {
  value = step.half.model
  path  = var.out
}
