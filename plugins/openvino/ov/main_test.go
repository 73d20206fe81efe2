package ov

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	Steady()
	os.Exit(m.Run())
}
