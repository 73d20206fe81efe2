recipe {
  description      = "Cluster the weights of a digit classifier, prove on ONNX Runtime that it still reads digits, and write it as a Core ML package with lookup tables."
  required_version = ">= 0.1"

  required_plugins {
    quantize    = { version = ">= 0.1" }
    onnxruntime = { version = ">= 0.1" } # evaluates
    coreml      = { version = ">= 0.1" }
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

dataset "test" {
  source = "../digits/mnist-test.npz"
  label  = "label"

  input "input" {
    field = "image"
    scale = 1 / 255
  }
}

step "quantize_cluster" "palette" {
  model = model.digits
  bits  = 6
}

# Core ML runs on Apple's systems alone; what is evaluated is the clustered model that the package is made of.
evaluate "digits" {
  dataset    = dataset.test
  baseline   = model.digits
  candidates = { palette = step.palette.model }

  ensure "accuracy" {
    condition     = self.palette.high.top1_drop <= var.max_drop
    error_message = "Clustering may lose ${self.palette.high.top1_drop} of top-1; the budget is ${var.max_drop}."
  }
}

step "coreml" "app" {
  model      = step.palette.model
  shapes     = { input = [1, 1, 28, 28] }
  depends_on = [evaluate.digits]
}

output "model" {
  value = step.app.model
  path  = "dist/digits.mlpackage"
}
