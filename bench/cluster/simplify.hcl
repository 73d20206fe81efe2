# BatchNormalizations go into the weights first, as quantize_cluster does it: what is clustered is what is compared.
recipe {
  required_plugins {
    onnxruntime = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "out" { type = string }

model "net" {
  source = var.model
}

step "onnxruntime_simplify" "plain" {
  model = model.net
}

output "model" {
  value = step.plain.model
  path  = var.out
}
