recipe {
  description      = "Take half of the work out of a digit classifier, win its accuracy back without training, quantize what is left, and prove all three."
  required_version = ">= 0.1"

  required_plugins {
    prune       = { version = ">= 0.1" }
    quantize    = { version = ">= 0.1" }
    onnxruntime = { version = ">= 0.1" }
  }
}

variable "max_drop" {
  description = "Top-1 accuracy that pruning may cost, as a fraction; and quantization as much again."
  type        = number
  default     = 0.015

  validation {
    condition     = var.max_drop >= 0 && var.max_drop < 1
    error_message = "max_drop is a fraction: 0.015 is one and a half percentage points."
  }
}

model "digits" {
  source = "../digits/digits.onnx"
}

# Channels are chosen, and weights repaired, on samples without their labels.
dataset "train" {
  source = "../digits/mnist-train.npz"
  limit  = 512

  input "input" {
    field = "image"
    scale = 1 / 255
  }
}

dataset "test" {
  source = "../digits/mnist-test.npz"
  label  = "label"

  input "input" {
    field = "image"
    scale = 1 / 255
  }
}

step "prune_channels" "half" {
  model       = model.digits
  calibration = dataset.train
  round_to    = 4 # layers of this net are narrow: 16 to 64 channels

  budget {
    macs = 0.5
  }
}

# The same channels, and nothing to make up for them: what the repair is worth.
step "prune_channels" "unrepaired" {
  model       = model.digits
  calibration = dataset.train
  round_to    = 4
  repair      = "off"

  budget {
    macs = 0.5
  }
}

step "quantize_static" "int8" {
  model       = step.half.model
  calibration = dataset.train
  target      = "auto"
}

evaluate "digits" {
  dataset    = dataset.test
  baseline   = model.digits
  candidates = { unrepaired = step.unrepaired.model, pruned = step.half.model, int8 = step.int8.model }

  benchmark {
    batch   = 1
    threads = 1
  }

  ensure "accuracy" {
    condition     = self.pruned.top1_drop <= var.max_drop
    error_message = "Pruning cost ${self.pruned.top1_drop} of top-1; ${var.max_drop} is allowed."
  }
  ensure "quantized" {
    condition     = self.int8.top1_drop <= 2 * var.max_drop
    error_message = "Pruning and quantization cost ${self.int8.top1_drop} of top-1; ${2 * var.max_drop} is allowed."
  }
  ensure "work" {
    condition     = self.pruned.macs <= 0.5 * self.baseline.macs
    error_message = "${self.pruned.macs} of ${self.baseline.macs} multiply-accumulates are left."
  }
  ensure "repair" {
    condition     = self.pruned.top1 > self.unrepaired.top1
    error_message = "The repair won nothing back."
  }
}

output "model" {
  value = step.int8.model
  path  = "dist/digits-half-int8.onnx"
}
