recipe {
  description      = "Quantize a digit classifier for this machine and prove that it still reads digits."
  required_version = ">= 0.1"

  required_plugins {
    quantize    = { version = ">= 0.1" } # bundled; a third party's has a source too
    onnxruntime = { version = ">= 0.1" }
  }
}

variable "max_drop" {
  description = "Top-1 accuracy that may be lost, as a fraction."
  type        = number
  default     = 0.005

  validation {
    condition     = var.max_drop >= 0 && var.max_drop < 1
    error_message = "max_drop is a fraction: 0.005 is half a percentage point."
  }
}

model "digits" {
  source = "digits.onnx"
}

dataset "train" {
  source = "mnist-train.npz"
  limit  = 64

  input "input" {
    field = "image"
    scale = 1 / 255
  }
}

dataset "test" {
  source = "mnist-test.npz"
  label  = "label"

  input "input" {
    field = "image"
    scale = 1 / 255
  }
}

step "quantize_static" "int8" {
  model       = model.digits
  calibration = dataset.train
  target      = "auto"
}

evaluate "digits" {
  dataset    = dataset.test
  baseline   = model.digits
  candidates = { int8 = step.int8.model }

  benchmark {
    batch   = 1
    threads = 1
  }

  ensure "accuracy" {
    condition     = self.int8.high.top1_drop <= var.max_drop
    error_message = "INT8 may lose ${self.int8.high.top1_drop} of top-1; the budget is ${var.max_drop}."
  }
  ensure "size" {
    condition = self.int8.size <= 0.5 * self.baseline.size
  }
}

output "model" {
  value = step.int8.model
  path  = "dist/digits-int8.onnx"
}
