recipe {
  description      = "Quantize a digit classifier for OpenVINO, write it as IR, and prove on OpenVINO itself what that is worth."
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
  default     = 0.005

  validation {
    condition     = var.max_drop >= 0 && var.max_drop < 1
    error_message = "max_drop is a fraction: 0.005 is half a percentage point."
  }
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

dataset "test" {
  source = "../digits/mnist-test.npz"
  label  = "label"

  input "input" {
    field = "image"
    scale = 1 / 255
  }
}

step "quantize_static" "int8" {
  model       = model.digits
  calibration = dataset.train
  target      = "openvino"
}

# The float model as IR is the baseline: what is compared is the quantization, not two engines.
step "openvino" "float" {
  model = model.digits
}

step "openvino" "ir" {
  model = step.int8.model
}

evaluate "digits" {
  dataset    = dataset.test
  baseline   = step.float.model
  candidates = { int8 = step.ir.model }

  # In f32 where nothing is quantized, on any CPU. On one with AMX, precision = "bf16" would be faster and less exact.
  engine "*" {
    device    = "CPU"
    precision = "f32"
  }

  benchmark {
    batch   = 1
    threads = 1
  }

  ensure "accuracy" {
    condition     = self.int8.high.top1_drop <= var.max_drop
    error_message = "INT8 may lose ${self.int8.high.top1_drop} of top-1; the budget is ${var.max_drop}."
  }
  ensure "size" {
    condition = self.int8.size <= 0.8 * self.baseline.size
  }
}

output "model" {
  value = step.ir.model
  path  = "dist/digits-int8"
}
