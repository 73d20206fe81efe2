# Calibration alone, for the clock: ranges of all floating-point tensors, as peer.py beside this file.
recipe {
  required_plugins {
    quantize = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "data" { type = string }

variable "samples" {
  type    = number
  default = 16
}

variable "method" {
  type    = string
  default = "minmax"
}

variable "bins" {
  type    = number
  default = null
}

model "net" {
  source = var.model
}

dataset "samples" {
  source = var.data
  limit  = var.samples

  input "x" {
    field = "x"
  }
}

step "quantize_calibrate" "ranges" {
  model       = model.net
  calibration = dataset.samples
  method      = var.method
  bins        = var.bins
  tensors     = "all"
}
