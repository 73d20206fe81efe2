# A folder of photos, prepared as torchvision prepares them for ImageNet's models.
variable "photos" {
  description = "The folder; each folder in it is a class."
  type        = string
}

dataset "photos" {
  source = var.photos
  label  = "label"

  input "input" {
    field  = "image"
    resize = 256
    crop   = 224
    scale  = 1 / 255
    mean   = [0.485, 0.456, 0.406]
    std    = [0.229, 0.224, 0.225]
  }
}
