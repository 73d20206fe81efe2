# Half precision for the comparison of float16.sh; calibrated.hcl beside it looks at data too.
recipe {
  required_plugins {
    quantize = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "out" { type = string }
variable "dtype" { type = string }

model "net" {
  source = var.model
}

step "quantize_float16" "half" {
  model = model.net
  dtype = var.dtype
}

output "model" {
  value = step.half.model
  path  = var.out
}
