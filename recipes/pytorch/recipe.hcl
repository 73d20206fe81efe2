# The model and its data are made by scripts/export-pytorch.py; docs/bring-your-model.md tells how to bring your own.
recipe {
  description = "Quantize a convolutional net that PyTorch exported, calibrated with its own data."
}

variable "max_drop" {
  description = "Top-1 accuracy that may be lost, as a fraction."
  type        = number
  default     = 0.01
}

model "exported" {
  source = "model.onnx"
}

dataset "train" {
  source = "train.npz" # its field image goes to the input of that name
  label  = "label"
  limit  = 64
}

dataset "test" {
  source = "test.npz"
  label  = "label"
}

step "quantize_static" "int8" {
  model       = model.exported
  calibration = dataset.train
}

evaluate "exported" {
  dataset    = dataset.test
  baseline   = model.exported
  candidates = { int8 = step.int8.model }

  ensure "the_original_works" {
    condition     = self.baseline.top1 >= 0.85
    error_message = "The exported model itself reads ${self.baseline.top1 * 100}% only: is its input prepared as in training?"
  }

  ensure "accuracy" {
    condition     = self.int8.high.top1_drop <= var.max_drop
    error_message = "INT8 may lose ${self.int8.high.top1_drop} of top-1; the budget is ${var.max_drop}."
  }
}

output "model" {
  value = step.int8.model
  path  = "dist/model-int8.onnx"
}
