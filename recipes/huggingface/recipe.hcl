# The model and its data are made by scripts/export-huggingface.py; docs/bring-your-model.md tells how to bring your own.
recipe {
  description = "Quantize the weights of a text classifier of Hugging Face; no data is needed for that, only for the proof."
}

variable "max_drop" {
  description = "Top-1 accuracy that may be lost, as a fraction."
  type        = number
  default     = 0.01
}

model "exported" {
  source = "model.onnx"
}

dataset "test" {
  source = "test.npz" # its fields input_ids and attention_mask go to the inputs of those names
  label  = "label"
}

step "quantize_dynamic" "int8" {
  model = model.exported
}

evaluate "exported" {
  dataset    = dataset.test
  baseline   = model.exported
  candidates = { int8 = step.int8.model }

  ensure "the_original_works" {
    condition     = self.baseline.top1 >= 0.9
    error_message = "The exported model itself is right in ${self.baseline.top1 * 100}% only: were the texts tokenized as in training?"
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
