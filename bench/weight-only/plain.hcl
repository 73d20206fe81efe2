# Integers chosen by looking at the weights alone.
recipe {
  required_plugins {
    quantize = { version = ">= 0.1" }
  }
}

variable "model" { type = string }
variable "out" { type = string }
variable "format" {
  type    = string
  default = "int4"
}
variable "algorithm" {
  type    = string
  default = "rtn"
}
variable "block_size" {
  type    = number
  default = 32
}
variable "symmetric" {
  type    = bool
  default = false
}

# The peer's GPTQ and its NF4 leave tables alone.
variable "embeddings" {
  type    = bool
  default = true
}

model "encoder" {
  source = var.model
}

step "quantize_weights" "weights" {
  model      = model.encoder
  format     = var.format
  algorithm  = var.algorithm
  block_size = var.block_size
  symmetric  = var.symmetric
  embeddings = var.embeddings
}

output "model" {
  value = step.weights.model
  path  = var.out
}
