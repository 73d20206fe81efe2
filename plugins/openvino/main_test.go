package openvino

import (
	"os"
	"testing"

	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
)

func TestMain(m *testing.M) {
	ov.Steady()
	os.Exit(m.Run())
}
