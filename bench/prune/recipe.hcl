# What bench/prune.sh runs: a network loses channels until a share of its work is left, once as it is, once repaired.
recipe {
  required_plugins {
    prune = { version = ">= 0.1" }
  }
}

variable "model" {
  type = string
}

variable "calibration" {
  type = string
}

variable "out" {
  type = string
}

variable "macs" {
  description = "Share of the multiply-accumulates that is left."
  type        = number
}

model "net" {
  source = var.model
}

dataset "calibration" {
  source = var.calibration
  limit  = 512
}

step "prune_channels" "cut" {
  model       = model.net
  calibration = dataset.calibration
  repair      = "off"
  round_to    = 8

  budget {
    macs = var.macs
  }
}

step "prune_channels" "repaired" {
  model       = model.net
  calibration = dataset.calibration
  round_to    = 8

  budget {
    macs = var.macs
  }
}

output "cut" {
  value = step.cut.model
  path  = "${var.out}-cut.onnx"
}

output "repaired" {
  value = step.repaired.model
  path  = "${var.out}-repaired.onnx"
}
