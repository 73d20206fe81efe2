# A model as a Core ML package, and nothing else.
recipe {
  required_plugins {
    coreml = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "out" { type = string }

model "net" {
  source = var.model
}

step "coreml" "package" {
  model = model.net
}

output "package" {
  value = step.package.model
  path  = var.out
}
