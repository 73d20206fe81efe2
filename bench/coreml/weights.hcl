# A model as a Core ML package four times: as it is, with half of what its weights take in half precision, pruned, clustered.
recipe {
  required_plugins {
    coreml   = { version = ">= 0.1" }
    prune    = { version = ">= 0.1" }
    quantize = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "int8" { type = string } # the same model with its weights as int8 behind DequantizeLinear
variable "input" { type = string }
variable "shape" { type = list(string) }
variable "target" {
  type    = string
  default = "iOS17"
}
variable "precision" {
  type    = string
  default = "float16"
}
variable "out" { type = string }

model "net" {
  source = var.model
}

model "int8" {
  source = var.int8
}

step "prune_weights" "pruned" {
  model    = model.net
  sparsity = 0.75
  targets  = ["coreml"]
}

step "quantize_cluster" "clustered" {
  model = model.net
  bits  = 4
}

step "quantize_cluster" "table256" {
  model = model.net
  bits  = 8
}


step "coreml" "package" {
  for_each = ["plain", "int8", "table256", "pruned", "clustered"]
  model = {
    plain     = model.net
    int8      = model.int8
    table256  = step.table256.model
    pruned    = step.pruned.model
    clustered = step.clustered.model
  }[each.key]
  minimum_deployment_target = var.target
  precision                 = var.precision
  shapes                    = { (var.input) = var.shape }
}

output "plain" {
  value = step.package["plain"].model
  path  = "${var.out}/plain.mlpackage"
}
output "int8" {
  value = step.package["int8"].model
  path  = "${var.out}/int8.mlpackage"
}
output "table256" {
  value = step.package["table256"].model
  path  = "${var.out}/table256.mlpackage"
}
output "pruned" {
  value = step.package["pruned"].model
  path  = "${var.out}/pruned.mlpackage"
}
output "clustered" {
  value = step.package["clustered"].model
  path  = "${var.out}/clustered.mlpackage"
}
output "pruned_onnx" {
  value = step.pruned.model
  path  = "${var.out}/pruned.onnx"
}
output "clustered_onnx" {
  value = step.clustered.model
  path  = "${var.out}/clustered.onnx"
}
output "table256_onnx" {
  value = step.table256.model
  path  = "${var.out}/table256.onnx"
}
output "sizes" {
  value = { for k, s in step.package : k => s.result.size }
}
output "forms" {
  value = { for k, s in step.package : k => s.result.forms }
}
