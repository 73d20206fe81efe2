recipe {
  description      = "Quantize a digit classifier for OpenVINO as far as an accuracy allows that OpenVINO itself measures while the step works."
  required_version = ">= 0.1"

  required_plugins {
    quantize    = { version = ">= 0.1" }
    onnxruntime = { version = ">= 0.1" } # calibrates
    openvino    = { version = ">= 0.1" }
  }
}

variable "max_drop" {
  description = "Top-1 accuracy that may be lost, as a fraction."
  type        = number
  default     = 0.001
}

model "digits" {
  source = "../digits/digits.onnx"
}

dataset "train" {
  source = "../digits/mnist-train.npz"
  limit  = 64

  input "input" {
    field = "image"
    scale = 1 / 255
  }
}

# The first half of the test images steers, the whole judges.
dataset "validation" {
  source = "../digits/mnist-test.npz"
  label  = "label"
  limit  = 1000

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

# Layers that cost most go back to float until OpenVINO loses no more than max_drop on the validation images.
step "quantize_static" "int8" {
  model       = model.digits
  calibration = dataset.train
  validation  = dataset.validation
  target      = "openvino"

  accuracy {
    max_drop = var.max_drop
  }
}

step "openvino" "ir" {
  model = step.int8.model
}

evaluate "digits" {
  dataset    = dataset.test
  runtime    = "openvino"
  baseline   = model.digits
  candidates = { int8 = step.ir.model }

  ensure "accuracy" {
    condition     = self.int8.top1_drop <= var.max_drop + 0.001
    error_message = "INT8 loses ${self.int8.top1_drop} of top-1."
  }
}

output "model" {
  value = step.ir.model
  path  = "dist/digits-int8"
}
