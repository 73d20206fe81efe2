# Dynamic quantization alone, for the clock: no evaluate, so that no more is done than by peer.py.
recipe {
  required_plugins {
    quantize = { version = ">= 0.1" }
  }
}

variable "model" { type = string }

model "encoder" {
  source = var.model
}

step "quantize_dynamic" "int8" {
  model = model.encoder
}

output "model" {
  value = step.int8.model
  path  = "dist/encoder-int8.onnx"
}
