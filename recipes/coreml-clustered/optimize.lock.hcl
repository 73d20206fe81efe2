# Written by optimize init: the plugins and libraries that this recipe was made with. Keep it in version control.

plugin "coreml" {
  version = "0.1.0"
}

plugin "onnxruntime" {
  version = "0.1.0"
}

plugin "quantize" {
  version = "0.1.0"
}

runtime "onnxruntime" {
  version = "1.32.0"
  sha256 = {
    "darwin/arm64"  = "fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7"
    "linux/amd64"   = "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f"
    "linux/arm64"   = "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a"
    "windows/amd64" = "e9feebaed867b76f741c14ae64e056a3da64a153a61994f1fb48eadc7f9b3ba8"
    "windows/arm64" = "d3587771474d96427cc5683fa49440127e928622a5e9df0f3e24209ae1fc42ad"
  }
}
