# Clusters alone, or behind half precision, for the comparison of cluster.sh.
recipe {
  required_plugins {
    quantize = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "out" { type = string }
variable "bits" { type = number }

variable "group_size" {
  type    = number
  default = 0
}

model "net" {
  source = var.model
}

step "quantize_cluster" "palette" {
  model      = model.net
  bits       = var.bits
  group_size = var.group_size
}

output "model" {
  value = step.palette.model
  path  = var.out
}
