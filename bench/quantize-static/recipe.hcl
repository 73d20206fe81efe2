# Static quantization alone, for the clock: no evaluate, so that no more is done than by peer.py.
recipe {
  required_plugins {
    quantize = { version = ">= 0.1" }
  }
}

model "digits" {
  source = "../../recipes/digits/digits.onnx"
}

dataset "train" {
  source = "../../recipes/digits/mnist-train.npz"
  limit  = 64

  input "input" {
    field = "image"
    scale = 1 / 255
  }
}

step "quantize_static" "int8" {
  model       = model.digits
  calibration = dataset.train
  target      = "auto"
  search      = "off" # the peer times nothing either
}

output "model" {
  value = step.int8.model
  path  = "dist/digits-int8.onnx"
}
