recipe {
  description      = "Quantize a digit classifier for OpenVINO and write it as OpenVINO's IR."
  required_version = ">= 0.1"

  required_plugins {
    openvino = { version = ">= 0.1" }
    quantize = { version = ">= 0.1" }
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

step "quantize_static" "int8" {
  model       = model.digits
  calibration = dataset.train
  target      = "openvino"
}

step "openvino" "float" {
  model = model.digits
}

step "openvino" "int8" {
  model = step.int8.model
}
