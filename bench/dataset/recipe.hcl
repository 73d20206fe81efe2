# The same samples from four kinds of source.
variable "data" {
  description = "The folder that make.py wrote."
  type        = string
}

dataset "photos" {
  source = "${var.data}/photos"
  label  = "label"

  input "x" {
    field  = "image"
    resize = [32, 32]
    scale  = 1 / 255
  }
}

dataset "table" {
  source = "${var.data}/table.csv"
  label  = "label"

  input "x" {
    field = "p0"
    dtype = "float32"
  }
}

dataset "lines" {
  source = "${var.data}/lines.jsonl"
  label  = "label"

  input "x" {
    dtype = "float32"
  }
}

dataset "arrays" {
  source = "${var.data}/arrays.npz"
  label  = "label"

  input "x" {
    scale = 1 / 255
  }
}

dataset "shuffled" {
  source  = "${var.data}/arrays.npz"
  label   = "label"
  shuffle = true

  input "x" {
    scale = 1 / 255
  }
}
