# Takes three tenths of the multiply-accumulates out of a model, with and without repair, and measures both on samples that
# neither has seen.
variable "model" {
  type = string
}
variable "data" {
  description = "Samples to choose and repair by, and those to measure on."
  type        = object({ calibration = string, test = string })
}

model "original" {
  source = var.model
}
dataset "calibration" {
  source = var.data.calibration
}
dataset "test" {
  source = var.data.test
}

step "prune_channels" "raw" {
  model       = model.original
  calibration = dataset.calibration
  repair      = "off"

  budget {
    macs = 0.7
  }
}
step "prune_channels" "repaired" {
  model       = model.original
  calibration = dataset.calibration

  budget {
    macs = 0.7
  }
}

evaluate "models" {
  dataset    = dataset.test
  baseline   = model.original
  candidates = { again = model.original, raw = step.raw.model, repaired = step.repaired.model }
  metrics    = ["sqnr", "cosine"]

  benchmark {
    batch   = 1
    threads = 1
  }

  # The copy of the original shows what the noise of the machine is worth.
  ensure "faster" {
    condition     = self.repaired.speedup >= 1.25 * self.again.speedup
    error_message = "It is ${self.repaired.speedup} times as fast; 1.25 is asked for."
  }
  ensure "repaired" {
    condition     = self.repaired.sqnr >= self.raw.sqnr
    error_message = "The repair won nothing back: ${self.repaired.sqnr} dB after ${self.raw.sqnr} dB."
  }
}
