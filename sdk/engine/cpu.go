package engine

import (
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

// kernelFeatures are the CPU features by which engines choose their kernels.
var kernelFeatures = []cpuid.FeatureID{
	cpuid.SSE4, cpuid.AVX, cpuid.AVX2, cpuid.FMA3, cpuid.F16C,
	cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL, cpuid.AVX512VNNI, cpuid.AVX512BF16, cpuid.AVX512FP16,
	cpuid.AVXVNNI, cpuid.AVXVNNIINT8, cpuid.AVXIFMA, cpuid.AVXNECONVERT, cpuid.AMXTILE, cpuid.AMXINT8, cpuid.AMXBF16,
	cpuid.ASIMD, cpuid.ASIMDHP, cpuid.ASIMDDP, cpuid.SVE,
}

// CPUFeatures names those features of this CPU that the results of an engine may
// depend on, sorted, with commas: for a fingerprint.
func CPUFeatures() string {
	var has []string
	for _, f := range kernelFeatures {
		if cpuid.CPU.Supports(f) {
			has = append(has, f.String())
		}
	}
	slices.Sort(has)
	return strings.Join(has, ",")
}
