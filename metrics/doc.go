// Package metrics grades a model's outputs: top-k accuracy, precision, recall, F1,
// IoU, ROC-AUC, MSE, PSNR, SQNR, cosine, agreement, perplexity, CER, WER, BLEU and
// chrF, each with a 95% interval, alone or paired against a baseline.
//
// It is pure: tensors and texts go in, numbers come out, and the same input gives the
// same numbers on every run and any number of cores. Axis 0 counts samples everywhere.
// Shares are fractions from 0 to 1. What adds up over samples is a [Measure], whose
// Estimate has the interval and whose [Drop] compares two of them; what is true or
// false of each sample goes to [Proportion] and [PairedDrop].
package metrics
