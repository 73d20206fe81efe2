# A model as OpenVINO's IR, and nothing else.
recipe {
  required_plugins {
    openvino = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "out" { type = string }

model "net" {
  source = var.model
}

step "openvino" "ir" {
  model = model.net
}

output "ir" {
  value = step.ir.model
  path  = var.out
}
